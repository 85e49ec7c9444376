"""Attention (notebook 02) against PyTorch's own layers, against loops in plain Python, and by perturbation."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from helpers.attention import CausalSelfAttention, attention, attention_weights, causal_mask
from helpers.generation import LayerCache

INF = float("inf")


@pytest.fixture(autouse=True)
def _float64():
    """Double precision, so that equal means equal to about 1e-7 or better."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def naive_attention(q, k, v, mask):
    """Attention one query and one position at a time, from the formula of the paper."""
    B, H, T, D = q.shape
    S, rows = k.size(2), []
    for b, h, t in torch.cartesian_prod(torch.arange(B), torch.arange(H), torch.arange(T)).tolist():
        scores = [sum(q[b, h, t, d] * k[b, h, s, d] for d in range(D)) / D**0.5 for s in range(S)]
        if mask is not None:
            scores = [score + mask[t, s] for s, score in enumerate(scores)]
        takes = [score.exp() for score in scores]
        rows.append(sum(take / sum(takes) * v[b, h, s] for s, take in enumerate(takes)))
    return torch.stack(rows).view(B, H, T, v.size(3))


def head_by_head(layer, x):
    """What a causal multi-head layer makes of x, one head after another, from its weight matrices alone."""
    H, D = 7, 54
    q_weight, k_weight, v_weight = layer.qkv.weight.split(H * D)  # 3 × (378, 384)
    q_bias, k_bias, v_bias = layer.qkv.bias.split(H * D)
    heads = []
    for h in range(H):
        own = slice(h * D, (h + 1) * D)
        q = x @ q_weight[own].T + q_bias[own]  # (B, T, D)
        k = x @ k_weight[own].T + k_bias[own]
        v = x @ v_weight[own].T + v_bias[own]
        scores = torch.einsum("btd,bsd->bts", q, k) / math.sqrt(54)
        seen = torch.ones(x.size(1), x.size(1)).tril() == 1
        heads.append(torch.where(seen, scores, -INF).softmax(2) @ v)  # (B, T, D)
    return torch.cat(heads, dim=2) @ layer.proj.weight.T + layer.proj.bias  # (B, T, C)


def gradients(y, *inputs):
    """Gradients of a weighted sum of y, in which every entry counts differently."""
    return torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), inputs)


def random_qkv(B, H, T, S, D):
    return [torch.randn(B, H, n, D, requires_grad=True) for n in (T, S, S)]


@pytest.mark.parametrize(
    ("T", "S", "mask"),
    [
        (1, 1, [[0]]),
        (1, 3, [[0, 0, 0]]),
        (3, 3, [[0, -INF, -INF], [0, 0, -INF], [0, 0, 0]]),
        (2, 4, [[0, 0, 0, -INF], [0, 0, 0, 0]]),
    ],
)
def test_the_causal_mask_hides_exactly_the_future(T, S, mask):
    """A query sees itself and what came before; with fewer queries than positions, the queries are the last ones."""
    assert causal_mask(T, S).tolist() == mask
    if T == S:
        assert causal_mask(T).tolist() == mask


@pytest.mark.parametrize("mask", ["none", "causal", "finite"])
@pytest.mark.parametrize(
    ("reference", "shape"), [(F.scaled_dot_product_attention, (2, 3, 6, 8, 54)), (naive_attention, (2, 2, 3, 4, 5))]
)
def test_written_attention_equals_the_fused_kernel_and_a_plain_loop(reference, shape, mask):
    """Attention equals PyTorch's and a loop over queries and positions, forward and backward, whatever the mask."""
    q, k, v = random_qkv(*shape)
    T, S = shape[2:4]
    future = torch.arange(S) > torch.arange(T)[:, None] + S - T  # (T, S)
    mask = {"none": None, "causal": torch.zeros(T, S).masked_fill(future, -INF), "finite": torch.randn(T, S)}[mask]
    y, expected = attention(q, k, v, mask), reference(q, k, v, mask)
    assert_close(y, expected)
    assert_close(gradients(y, q, k, v), gradients(expected, q, k, v))


@pytest.mark.parametrize("D", [3, 16, 54])
def test_scores_are_divided_by_the_root_of_the_head_size(D):
    """Two positions with q·k of 0 and √D ln 3 get the weights 1/4 and 3/4."""
    q = torch.full((1, 1, 1, D), 2.0)
    k = torch.stack([torch.zeros(D), torch.full((D,), math.sqrt(D) * math.log(3) / (2 * D))]).view(1, 1, 2, D)
    assert_close(attention_weights(q, k), torch.tensor([0.25, 0.75]).view(1, 1, 1, 2))


def test_weights_of_a_query_sum_to_one_and_are_zero_on_the_future():
    """Each row of the weights is a share-out of one among the past and present, also for scores in the thousands."""
    q, k, _ = random_qkv(2, 3, 5, 5, 7)
    for scale in (1, 1000):
        weights = attention_weights(scale * q, k, causal_mask(5))
        assert_close(weights.sum(3), torch.ones(2, 3, 5))
        assert (weights >= 0).all()
        assert (weights[..., torch.ones(5, 5).triu(1) == 1] == 0).all()


def test_attention_without_a_mask_is_permutation_equivariant():
    """Without a mask, attention knows no order: shuffled tokens give shuffled outputs."""
    q, k, v = random_qkv(2, 3, 6, 6, 5)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(attention(q[:, :, order], k[:, :, order], v[:, :, order]), attention(q, k, v)[:, :, order])
    masked = attention(q[:, :, order], k[:, :, order], v[:, :, order], causal_mask(6))
    assert not torch.allclose(masked, attention(q, k, v, causal_mask(6))[:, :, order])


def test_dropout_zeroes_a_share_of_the_weights_and_scales_up_the_others():
    """A weight is dropped with the probability asked for, and otherwise divided by the probability that it stays."""
    q, k, _ = random_qkv(4, 4, 32, 32, 8)
    weights = attention_weights(q, k)
    dropped = attention(q, k, torch.eye(32).expand(4, 4, 32, 32), dropout=0.25)  # of identity values, the weights
    assert_close(dropped, torch.where(dropped == 0, 0, weights / 0.75))
    assert abs((dropped == 0).double().mean() - 0.25) < 0.02


@pytest.mark.parametrize("fused", [True, False, None])
def test_the_layer_equals_multihead_attention(fused):
    """Where the heads divide the width, outputs, weights and all gradients equal those of nn.MultiheadAttention."""
    layer = CausalSelfAttention(12, 3, fused=fused)
    twin = nn.MultiheadAttention(12, 3, batch_first=True)
    twin.in_proj_weight.data, twin.in_proj_bias.data = layer.qkv.weight.data.clone(), layer.qkv.bias.data.clone()
    twin.out_proj.load_state_dict(layer.proj.state_dict())
    x = torch.randn(2, 5, 12, requires_grad=True)
    future = torch.ones(5, 5).triu(1) == 1
    y, (expected, weights) = layer(x), twin(x, x, x, attn_mask=future, average_attn_weights=False)
    assert_close(y, expected)
    assert_close(layer.weights(x), weights)
    own = gradients(y, x, layer.qkv.weight, layer.qkv.bias, *layer.proj.parameters())
    assert_close(own, gradients(expected, x, twin.in_proj_weight, twin.in_proj_bias, *twin.out_proj.parameters()))


@pytest.mark.parametrize("fused", [True, False])
def test_seven_heads_of_54_in_a_width_of_384(fused):
    """378 of 384: the layer of the full model equals its seven heads computed one by one, forward and backward."""
    layer = CausalSelfAttention(384, 7, fused=fused)
    x = torch.randn(2, 5, 384, requires_grad=True)
    y, expected = layer(x), head_by_head(layer, x)
    assert_close(y, expected)
    assert_close(gradients(y, x, *layer.parameters()), gradients(expected, x, *layer.parameters()))


@pytest.mark.parametrize("T", [1, 6])
def test_fused_and_written_out_are_equal(T):
    """The two versions of the layer agree, forward and backward, also for a single token; `None` is one of them."""
    layers = [CausalSelfAttention(17, 3, fused=fused) for fused in (True, False, None)]
    x, results = torch.randn(3, T, 17, requires_grad=True), []
    for layer in layers:
        layer.load_state_dict(layers[0].state_dict())
        y = layer(x)
        results.append((y, *gradients(y, x, *layer.parameters())))
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])


@pytest.mark.parametrize(
    ("fused", "dtype", "calls"),
    [
        (True, torch.float32, 1),
        (False, torch.float32, 0),
        (None, torch.float32, 1),
        (None, torch.bfloat16, 0),
        (True, torch.bfloat16, 1),
    ],
)
def test_one_argument_chooses_the_version(fused, dtype, calls, monkeypatch):
    """True is the fused kernel, False the formula; None avoids the kernel where it is slow: bfloat16 on CPUs."""
    kernel, called = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or kernel(*a, **k))
    y = CausalSelfAttention(12, 3, fused=fused).to(dtype)(torch.randn(2, 4, 12, dtype=dtype))
    assert (len(called), y.dtype) == (calls, dtype)


@pytest.mark.parametrize("fused", [True, False])
def test_no_token_sees_the_future(fused):
    """Changing a token leaves all outputs before it as they were, and changes its own and every later one."""
    layer = CausalSelfAttention(17, 3, fused=fused)
    x = torch.randn(2, 6, 17)
    y = layer(x)
    for t in range(6):
        changed = x.clone()
        changed[:, t] += torch.randn(17)
        difference = (layer(changed) - y).abs().amax(2)  # (B, T)
        assert (difference[:, :t] < 1e-12).all()
        assert (difference[:, t:] > 1e-6).all()


@pytest.mark.parametrize("fused", [True, False])
def test_in_pieces_with_a_cache_the_layer_gives_the_same(fused):
    """Fed in pieces of 3, 1, 2 and 1 tokens, each token sees all before it and none after, as in one sequence."""
    layer, x = CausalSelfAttention(17, 3, fused=fused), torch.randn(2, 7, 17)
    cache = LayerCache((2, 3, 7, 5), x)
    pieces = [layer(piece, cache) for piece in x.split([3, 1, 2, 1], dim=1)]
    assert_close(torch.cat(pieces, dim=1), layer(x))


@pytest.mark.parametrize("fused", [True, False])
def test_attention_dropout_is_active_only_in_training(fused):
    """In training some weights are dropped, at random; in evaluation the layer is the one without dropout."""
    layer, plain = CausalSelfAttention(16, 2, 0.5, fused), CausalSelfAttention(16, 2, 0.0, fused)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 16)
    assert torch.equal(layer.eval()(x), plain(x))
    layer.train().proj_dropout.p = 0.0  # leaves the dropout of the weights alone
    assert not torch.allclose(layer(x), plain(x))
    assert not torch.allclose(layer(x), layer(x))


def test_output_dropout_is_active_only_in_training():
    """In training the layer drops entries of its output, and scales up the others; in evaluation it drops none."""
    layer = CausalSelfAttention(64, 2, 0.5)
    layer.dropout = 0.0  # leaves the dropout of the output alone
    x = torch.randn(4, 16, 64)
    y, whole = layer(x), layer.eval()(x)
    assert_close(y, torch.where(y == 0, 0, 2 * whole))
    assert abs((y == 0).double().mean() - 0.5) < 0.05

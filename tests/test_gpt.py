"""The GPT (notebook 04): its size, its parts, its loss, and what it refuses."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from helpers.generation import KVCache
from helpers.gpt import GPT, ChunkedCrossEntropy, GPTConfig
from helpers.presets import PRESETS


@pytest.fixture
def model(small_model):
    """The small model in double precision and evaluation mode."""
    return small_model.double()


def tokens(*shape, V=320):
    return torch.randint(V, shape)


def gradients(loss, model):
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True))


def test_the_full_model_is_the_reference_configuration():
    """7 layers, 7 heads of 54, width 384, context 512, vocabulary 8,192: 19,833,858 parameters, as GPTConfig's defaults."""
    config = GPTConfig(vocab_size=8192, context=512, embed_size=384, n_layers=7, n_heads=7, dropout=0.05, fused=None)
    assert PRESETS["full"].model == GPTConfig() == config
    assert config.head_size == 54
    with torch.device("meta"):
        assert GPT(config).n_parameters() == 19_833_858


@pytest.mark.parametrize(
    ("V", "T", "C", "L", "H"), [(320, 16, 24, 2, 5), (2048, 128, 128, 4, 4), (11, 1, 1, 1, 1), (500, 64, 48, 3, 48)]
)
def test_the_number_of_parameters_has_a_closed_form(V, T, C, L, H):
    """Embeddings, L blocks and a norm, weights and biases; the head is tied and adds nothing."""
    inner = H * (C // H)
    attention = C * 3 * inner + 3 * inner + inner * C + C
    feed_forward = C * 6 * C + 6 * C + 6 * C * C + C
    expected = V * C + T * C + L * (attention + feed_forward + 4 * C) + 2 * C
    with torch.device("meta"):
        model = GPT(GPTConfig(V, T, C, L, H))
    assert model.n_parameters() == sum(p.numel() for p in model.parameters()) == expected


def test_head_and_token_embedding_are_one_matrix(small_config):
    """Tied: one storage when made, after a round trip of the state, and after a step of the optimiser."""
    saved, model = GPT(small_config), GPT(small_config)
    model.load_state_dict(saved.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(tokens(2, 8), tokens(2, 8)).backward()
    optimizer.step()
    for m in (saved, model):
        assert m.head.weight.data_ptr() == m.token_embedding.weight.data_ptr()
        assert m.head.bias is None
    assert not torch.equal(model.head.weight, saved.head.weight)


def test_the_gpt_is_embeddings_blocks_norm_and_head(model):
    """Token plus position embedding, the blocks in their order, LayerNorm, scores by the token embedding."""
    idx = tokens(2, 7)
    table = model.token_embedding.weight
    x = F.one_hot(idx, 320).double() @ table + model.position_embedding.weight[:7]  # (B, T, C)
    for block in model.blocks:
        x = block(x)
    x = F.layer_norm(x, (24,), model.norm.weight, model.norm.bias)
    assert_close(model.hidden(idx), x)
    assert_close(model(idx), torch.einsum("btc,vc->btv", x, table))


def test_positions_start_at_zero_and_matter(model):
    """The t-th token of a sequence gets row t of the position embedding, so that equal tokens differ by their place."""
    same = torch.full((1, 16), 9)
    assert_close(model.embed(same)[0], model.token_embedding.weight[9] + model.position_embedding.weight)
    logits = model(same)[0]
    assert ((logits[1:] - logits[:-1]).abs().amax(1) > 1e-3).all()


def test_with_a_cache_positions_start_at_its_length(model):
    """In pieces of 3, 1 and 4 tokens, each of which follows on the cache, the logits are those of the whole sequence."""
    idx, cache, pieces = tokens(2, 8), KVCache(model, batch_size=2), []
    for piece in idx.split([3, 1, 4], dim=1):
        pieces.append(model(piece, cache=cache))
    assert len(cache) == 8
    assert_close(torch.cat(pieces, dim=1), model(idx))


@pytest.mark.parametrize("preset", ["tiny", "laptop", "full"])
def test_at_the_start_the_loss_is_that_of_guessing(preset):
    """An untrained model spreads its guess over the vocabulary: its loss is within 0.1 of ln V."""
    config = PRESETS[preset].model
    model, V = GPT(config).eval(), config.vocab_size
    with torch.no_grad():
        loss = model(tokens(2, 64, V=V), tokens(2, 64, V=V))
    assert abs(loss.item() - math.log(V)) < 0.1


@pytest.mark.parametrize("scale", [1, 1e4])
@pytest.mark.parametrize(("N", "chunk"), [(1, 8), (7, 8), (8, 8), (16, 8), (19, 8), (1500, 1024)])
def test_chunked_cross_entropy_equals_pytorchs(N, chunk, scale):
    """Loss and gradients equal nn.CrossEntropyLoss, for any number of tokens; logits of ±10,000 do not overflow."""
    x, weight = torch.randn(N, 5).double().requires_grad_(), (scale * torch.randn(13, 5)).double().requires_grad_()
    targets = tokens(N, V=13)
    loss = ChunkedCrossEntropy.apply(x, weight, targets, *([] if chunk == 1024 else [chunk]))  # 1024 is the default
    expected = nn.CrossEntropyLoss()(x @ weight.T, targets)
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(3 * loss, (x, weight)), torch.autograd.grad(3 * expected, (x, weight)))


def test_cross_entropy_under_bfloat16_autocast():
    """In float32, within 0.1 % of PyTorch's loss under the same autocast, 1 % of the exact one; gradients within 2 %."""
    x, weight, targets = torch.randn(50, 24, requires_grad=True), torch.randn(300, 24, requires_grad=True), tokens(50, V=300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ChunkedCrossEntropy.apply(x, weight, targets, 16)
        same = F.cross_entropy(F.linear(x, weight), targets)
    exact = F.cross_entropy(x @ weight.T, targets)
    assert loss.dtype == torch.float32
    assert_close(loss, same, rtol=1e-3, atol=0)
    assert_close(loss, exact, rtol=1e-2, atol=0)
    for own, true in zip(torch.autograd.grad(loss, (x, weight)), torch.autograd.grad(exact, (x, weight)), strict=True):
        assert own.dtype == torch.float32
        assert (own - true).norm() < 0.02 * true.norm()


def test_given_targets_the_gpt_returns_their_cross_entropy(model):
    """GPT(idx, targets) is the mean cross-entropy of GPT(idx), nothing shifted, with its gradients or without any."""
    idx, targets = tokens(3, 16), tokens(3, 16)
    loss = model(idx, targets)
    expected = F.cross_entropy(model(idx).flatten(0, 1), targets.flatten())
    assert_close(loss, expected)
    assert_close(gradients(loss, model), gradients(expected, model))
    with torch.no_grad():
        assert_close(model(idx, targets), expected)


def test_every_parameter_receives_a_gradient(model):
    """Nothing in the model is cut off from the loss: each tensor, and each row of the position embedding."""
    grads = gradients(model(tokens(4, 16), tokens(4, 16)), model)
    assert all(grad.abs().max() > 1e-6 for grad in grads.values())
    assert (grads["position_embedding.weight"].abs().amax(1) > 1e-6).all()


def test_attention_weights_are_those_of_the_forward_pass(model):
    """Layer by layer and head by head, (n_layers, B, H, T, T): softmax(q kᵀ / √D) of what each layer is given."""
    idx, given = tokens(3, 6), []
    hooks = [b.attention.register_forward_pre_hook(lambda _, args: given.append(args[0])) for b in model.blocks]
    model(idx)
    for hook in hooks:
        hook.remove()
    weights = model.attention_weights(idx)
    assert weights.shape == (2, 3, 5, 6, 6)
    assert not weights.requires_grad
    future = torch.ones(6, 6).triu(1) == 1
    for block, x, own in zip(model.blocks, given, weights, strict=True):
        q, k, _ = (x @ block.attention.qkv.weight.T + block.attention.qkv.bias).split(20, dim=2)
        for h in range(5):
            scores = q[..., 4 * h : 4 * h + 4] @ k[..., 4 * h : 4 * h + 4].transpose(1, 2) / 2  # (B, T, T)
            assert_close(own[:, h], scores.masked_fill(future, -math.inf).softmax(2))


def test_initial_weights_are_those_of_gpt2():
    """Normal with deviation 0.02, the projections into the residual stream 0.02/√(2 n_layers); biases zero, norms one."""
    model = GPT(GPTConfig(vocab_size=500, context=64, embed_size=64, n_layers=3, n_heads=4))
    for name, p in model.named_parameters():
        if "norm" in name:
            assert torch.equal(p, torch.full_like(p, name.endswith("weight")))
        elif name.endswith("bias"):
            assert torch.equal(p, torch.zeros_like(p))
        else:
            std = 0.02 / math.sqrt(6) if "proj" in name else 0.02
            assert abs(p.std().item() / std - 1) < 0.05, name
            assert abs(p.mean().item()) < 0.1 * std, name
            assert p.abs().max() > 2.5 * std, name  # a normal distribution has tails


def test_dropout_is_active_only_in_training():
    """In evaluation the model is deterministic and equal to the one without dropout; in training every part drops."""
    shape = {"vocab_size": 320, "context": 64, "embed_size": 24, "n_layers": 2, "n_heads": 5}
    model, plain, idx = GPT(GPTConfig(**shape, dropout=0.5)), GPT(GPTConfig(**shape, dropout=0.0)), tokens(4, 64)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(idx), plain(idx))
    assert torch.equal(model(idx), model(idx))
    assert abs((model.train().embed(idx) == 0).double().mean() - 0.5) < 0.05
    model.dropout.p = 0.0  # leaves the dropout within the blocks alone
    assert not torch.equal(model(idx), model(idx))


@pytest.mark.parametrize("fused", [True, False])
def test_no_token_sees_the_future_through_the_gpt(small_config, fused):
    """Another token at t leaves all logits before t as they were, and changes those at t and after, in its row alone."""
    model, idx = GPT(GPTConfig(**{**vars(small_config), "fused": fused})).double().eval(), tokens(2, 16)
    logits = model(idx)
    for t in range(16):
        changed = idx.clone()
        changed[0, t] = (idx[0, t] + 1) % 320
        difference = (model(changed) - logits).abs().amax(2)  # (B, T)
        assert (difference[0, :t] < 1e-12).all()
        assert (difference[0, t:] > 1e-9).all()
        assert (difference[1] < 1e-12).all()


@pytest.mark.parametrize(("fused", "calls"), [(True, 2), (False, 0)])
def test_the_choice_of_attention_reaches_every_layer(small_config, fused, calls, monkeypatch):
    """With fused=True every layer calls PyTorch's kernel, with fused=False none does."""
    kernel, called = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or kernel(*a, **k))
    GPT(GPTConfig(**{**vars(small_config), "fused": fused}))(tokens(2, 8))
    assert len(called) == calls


@pytest.mark.parametrize("field", ["vocab_size", "context", "embed_size", "n_layers", "n_heads"])
@pytest.mark.parametrize("value", [0, -3, 2.0, True, "12", None])
def test_a_size_that_cannot_be_is_refused_by_name(field, value):
    """Sizes are whole numbers of at least one; the message names the field and the value."""
    with pytest.raises(ValueError, match=rf"^{field} must .*{value!r}"):
        GPTConfig(**{field: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 13, "embed_size": 12}, "n_heads = 13 .* embed_size = 12"),
        *(({"dropout": value}, "^dropout must") for value in (1.0, 1, -0.1, math.nan, True, "0.1", None)),
        *(({"fused": value}, "^fused must") for value in ("yes", 2, "None")),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(settings, message):
    """More heads than width, a dropout that is no share, an unknown attention: the message names the field."""
    with pytest.raises(ValueError, match=message):
        GPTConfig(**settings)
    assert GPTConfig(n_heads=12, embed_size=12, dropout=0, fused=False).head_size == 1


def test_more_tokens_than_the_context_are_refused(model):
    """The message names both numbers, also where a cache has filled the context; exactly the context is welcome."""
    cache = KVCache(model)
    model(tokens(1, 16), cache=cache)
    with pytest.raises(ValueError, match=r"17 tokens .* context of 16"):
        model(tokens(1, 17))
    with pytest.raises(ValueError, match=r"18 tokens .* context of 16"):
        model(tokens(1, 2), cache=cache)

"""The feed-forward network and the block (notebook 03) against a block made of PyTorch's own layers."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers.block import Block, FeedForward

NAMES = {  # ours → those of the twin
    "norm1": "norm1",
    "attention.qkv.": "mix.in_proj_",
    "attention.proj": "mix.out_proj",
    "norm2": "norm2",
    "feed_forward.expand": "think.0",
    "feed_forward.proj": "think.2",
}


class Twin(nn.Module):
    """A pre-norm block of PyTorch's own layers, for heads that divide the width."""

    def __init__(self, C, H):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.mix = nn.MultiheadAttention(C, H, batch_first=True)
        self.think = nn.Sequential(nn.Linear(C, 6 * C), nn.ReLU(), nn.Linear(6 * C, C))

    def forward(self, x):
        normed, T = self.norm1(x), x.size(1)
        future = torch.ones(T, T).triu(1) == 1
        x = x + self.mix(normed, normed, normed, attn_mask=future, need_weights=False)[0]
        return x + self.think(self.norm2(x))


def twin_name(name):
    ours = next(ours for ours in NAMES if name.startswith(ours))
    return name.replace(ours, NAMES[ours])


def random_block(C, H, dropout=0.0, fused=None):
    """A block in double precision whose every parameter, also the norms', is random."""
    block = Block(C, H, dropout, fused).double()
    for p in block.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return block


def layer_norm(x, norm):
    """LayerNorm from its formula."""
    centred = x - x.mean(2, keepdim=True)
    return centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("fused", [True, False])
def test_the_block_equals_one_of_pytorchs_layers(fused):
    """Pre-norm, both residuals, ReLU and the factor six: output and all gradients equal those of the twin."""
    block, twin = random_block(12, 3, fused=fused), Twin(12, 3).double()
    twin.load_state_dict({twin_name(name): p for name, p in block.state_dict().items()})
    start, results = torch.randn(2, 5, 12, dtype=torch.float64), []
    for model in (block, twin):
        x = start.clone().requires_grad_()
        y = model(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        results.append((y, x.grad))
    assert_close(results[0], results[1])
    theirs = dict(twin.named_parameters())
    for name, p in block.named_parameters():
        assert_close(p.grad, theirs[twin_name(name)].grad, msg=lambda m, name=name: f"{name}: {m}")


def test_a_layer_norm_stands_before_each_part():
    """Attention is given LayerNorm(x); the feed-forward network LayerNorm of x plus attention, each with its own norm."""
    block, given = random_block(17, 3), {}
    block.attention.register_forward_hook(lambda _, args, y: given.update(attention=args[0], added=y))
    block.feed_forward.register_forward_hook(lambda _, args, y: given.update(feed_forward=args[0], added_last=y))
    x = 0.01 * torch.randn(2, 5, 17, dtype=torch.float64)  # so small that the norm's epsilon counts
    y = block(x)
    assert_close(given["attention"], layer_norm(x, block.norm1))
    assert_close(given["feed_forward"], layer_norm(x + given["added"], block.norm2))
    assert_close(y, x + given["added"] + given["added_last"])


def test_the_feed_forward_network_equals_its_formula():
    """W₂ max(0, W₁ x + b₁) + b₂, with a hidden layer six times as wide as x."""
    layer, x = FeedForward(10).double(), torch.randn(2, 3, 10, dtype=torch.float64)
    (w1, b1), (w2, b2) = layer.expand.parameters(), layer.proj.parameters()
    assert w1.shape == (60, 10)
    hidden = torch.einsum("ij,btj->bti", w1, x) + b1
    assert_close(layer(x), torch.einsum("ij,btj->bti", w2, torch.where(hidden > 0, hidden, 0)) + b2)


def test_the_feed_forward_network_thinks_per_token():
    """A changed token changes its own output and no other."""
    layer, x = FeedForward(10), torch.randn(2, 5, 10)
    changed = x.clone()
    changed[1, 2] += 1.0
    difference = (layer(changed) - layer(x)).abs().amax(2)  # (B, T)
    assert difference[1, 2] > 1e-3
    difference[1, 2] = 0
    assert difference.max() < 1e-6


@pytest.mark.parametrize("fused", [True, False])
def test_no_token_sees_the_future_through_a_block(fused):
    """Changing a token leaves all outputs before it as they were, and changes its own and every later one."""
    block, x = random_block(17, 3, fused=fused), torch.randn(2, 6, 17, dtype=torch.float64)
    y = block(x)
    for t in range(6):
        changed = x.clone()
        changed[:, t] += torch.randn(17)
        difference = (block(changed) - y).abs().amax(2)  # (B, T)
        assert (difference[:, :t] < 1e-12).all()
        assert (difference[:, t:] > 1e-6).all()


def test_the_residual_stream_runs_through_untouched():
    """With both last projections at zero a block returns exactly its input, in training too: no dropout, no norm on it."""
    block, x = random_block(17, 3, dropout=0.5), torch.randn(2, 5, 17, dtype=torch.float64)
    for layer in (block.attention.proj, block.feed_forward.proj):
        for p in layer.parameters():
            nn.init.zeros_(p)
    assert torch.equal(block.train()(x), x)


def test_feed_forward_dropout_is_active_only_in_training():
    """In training entries of the output are dropped and the others scaled up; in evaluation none is."""
    layer, x = FeedForward(64, dropout=0.5).double(), torch.randn(4, 16, 64, dtype=torch.float64)
    y, whole = layer(x), layer.eval()(x)
    assert_close(y, torch.where(y == 0, 0, 2 * whole))
    assert abs((y == 0).double().mean() - 0.5) < 0.05


@pytest.mark.parametrize("part", ["attention", "feed_forward"])
def test_dropout_reaches_both_parts_of_a_block(part):
    """Each part drops entries of what it adds to the residual stream; in evaluation the block is the one without."""
    block, plain, added = random_block(64, 4, dropout=0.5), Block(64, 4).double(), []
    plain.load_state_dict(block.state_dict())
    x = torch.randn(4, 16, 64, dtype=torch.float64)
    getattr(block, part).register_forward_hook(lambda *args: added.append(args[2]))
    block(x)
    assert torch.equal(block.eval()(x), plain(x))
    in_training, in_evaluation = ((y == 0).double().mean() for y in added)
    assert abs(in_training - 0.5) < 0.05
    assert in_evaluation == 0

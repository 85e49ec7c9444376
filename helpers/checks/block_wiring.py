"""The checks of notebook 03, "Exercises": the block as a function of its parts, and both parts at once."""

import torch
from torch import nn
from torch.nn import functional as F

from helpers.attention import CausalSelfAttention
from helpers.block import Block, FeedForward
from helpers.checks.attention_kernel import normal
from helpers.checks.compare import described
from helpers.checks.marker import Exercise


def filled(module, seed):
    """Return the module with every parameter drawn at random, gains and biases too, and in evaluation."""
    for i, p in enumerate(module.parameters()):
        p.data = normal(*p.shape, seed=100 * seed + i) / (p.size(-1) ** 0.5 if p.dim() == 2 else 1)
    return module.eval()


def blocks():
    """Return cases of a block and x: usual ones, heads that don't divide, one token, a large stream, dropout in evaluation."""
    sizes = [
        ("C = 8, two heads", 2, 5, 8, 2),
        ("C = 10, three heads", 1, 6, 10, 3),
        ("one token", 2, 1, 6, 1),
        ("all sizes 4", 4, 4, 4, 4),
    ]
    made = [(label, (filled(Block(C, H), i), normal(B, T, C, seed=i))) for i, (label, B, T, C, H) in enumerate(sizes)]
    block, x = made[0][1]
    made.append(("a stream of large numbers", (block, 50 * x + 20)))
    return [*made, ("a block with dropout, in evaluation", (filled(Block(8, 2, dropout=0.5), 9), x))]


def parallel_block(block, x):
    """The reference: two parts read x, and both are added to it."""
    return x + block.attention(block.norm1(x)) + block.feed_forward(block.norm2(x))


parallel_block = Exercise(parallel_block, blocks)


def parallel_mistake(name, nudge, wrong):
    """File a mistake, made from x and the four parts."""
    parallel_block.mistake(name, nudge)(
        lambda block, x: wrong(x, block.norm1, block.attention, block.norm2, block.feed_forward)
    )


def sequential(x, norm1, attention, norm2, feed_forward):
    """Return the usual block's output."""
    x = x + attention(norm1(x))
    return x + feed_forward(norm2(x))


parallel_mistake(
    "one after the other",
    "This is the usual block: what the feed-forward network reads has already been changed by attention.",
    sequential,
)
parallel_mistake(
    "no residual",
    "Take both parts away: what should be left is x, and nothing is.",
    lambda x, n1, a, n2, f: a(n1(x)) + f(n2(x)),
)
parallel_mistake(
    "the stream added twice",
    "Each part has brought its own x along, so there are two of them in the sum.",
    lambda x, n1, a, n2, f: (x + a(n1(x))) + (x + f(n2(x))),
)
parallel_mistake(
    "one norm for both",
    "Each part reads through its own norm: norm2 is nowhere used.",
    lambda x, n1, a, n2, f: x + a(n1(x)) + f(n1(x)),
)
parallel_mistake(
    "norms exchanged",
    "Every part is there, but which norm belongs to which?",
    lambda x, n1, a, n2, f: x + a(n2(x)) + f(n1(x)),
)
parallel_mistake(
    "no norms", "Both parts read the bare stream. Through what should they read it?", lambda x, n1, a, n2, f: x + a(x) + f(x)
)
parallel_mistake(
    "the second part without a norm",
    "Attention reads through norm1. Through what does the feed-forward network read?",
    lambda x, n1, a, n2, f: x + a(n1(x)) + f(x),
)
parallel_mistake(
    "norms after the parts",
    "The norms stand on what the parts return; they should stand on what the parts read.",
    lambda x, n1, a, n2, f: x + n1(a(x)) + n2(f(x)),
)
parallel_mistake(
    "a norm on the stream",
    "The x that everything is added to has been normalised, so the stream itself is lost: which x is added?",
    lambda x, n1, a, n2, f: n1(x) + a(n1(x)) + f(n2(x)),
)
parallel_mistake(
    "the second part reads the first",
    "The feed-forward network reads attention's result here. Both should read x.",
    lambda x, n1, a, n2, f: x + a(n1(x)) + f(n2(a(n1(x)))),
)
parallel_mistake(
    "what attention adds left out",
    "The feed-forward network has read attention's answer or the stream, but the answer itself is not in the sum.",
    lambda x, n1, a, n2, f: x + f(n2(x)),
)
parallel_mistake(
    "the mean of two blocks",
    "You divide by two somewhere. Nothing is averaged: both are added to the stream.",
    lambda x, n1, a, n2, f: x + (a(n1(x)) + f(n2(x))) / 2,
)


def no_norm(x):
    """Return x as it is."""
    return x


def plus_1(x):
    """Return what it reads, plus one."""
    return x + 1


def plus_10(x):
    """Return what it reads, plus ten."""
    return x + 10


def wired():
    """Return cases of x, parts, p and training: evaluation, no dropout; dropout on parts that one can follow."""
    made = []
    for i, (label, (block, x)) in enumerate(blocks()[:5]):
        parts = block.norm1, block.attention, block.norm2, block.feed_forward
        made.append((label + (", in evaluation" if i else ", p = 0"), (x, *parts, 0.3 if i else 0.0, i == 0)))
    own = nn.LayerNorm(8), CausalSelfAttention(8, 2), nn.LayerNorm(8), FeedForward(8)
    made += [("fresh parts, p = 0.9, in evaluation", (normal(1, 3, 8, seed=5), *(filled(m, 7) for m in own), 0.9, False))]
    ones, parts = torch.ones(2, 100, 200), (no_norm, plus_1, no_norm, plus_10)
    for p in (0.3, 0.6):
        made.append((f"in training, p = {p}, x is all ones, parts that add 1 and 10", (ones, *parts, p, True)))
    return made


def shares(out):
    """Return which numbers stand in a tensor, and in which share of its places, in words; rounded, for masks are random."""
    numbers, counts = out.mul(100).round().unique(return_counts=True)
    if len(numbers) > 8:
        return f"{len(numbers)} different numbers"
    each = [
        f"{n / 100:.2f}: {round(20 * count / out.numel()) * 5} %"
        for n, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    ]
    return ", ".join(each)


def followed(function, x, norm1, attention, norm2, feed_forward, p, training):
    """Call the function, with dropout twice; where it is at work, return which numbers come out, and how the masks differ."""
    got = function(x, norm1, attention, norm2, feed_forward, p, training)
    if got is None or not p:
        return got
    again = function(x, norm1, attention, norm2, feed_forward, p, training)
    if not training:
        steady = not isinstance(got, torch.Tensor) or got.equal(again)
        return {"two calls in evaluation": f"{'the same' if steady else 'other'} numbers", "output": got if steady else None}
    fits = isinstance(got, torch.Tensor) and got.shape == x.shape and got.dtype == x.dtype
    same = []
    if fits:
        alike = (("sequence", got[:1]), ("token", got[:, :1]), ("feature", got[..., :1]), ("call", again))
        same = [f"for every {what}" for what, other in alike if (got == other).all()]
    return {
        "what comes out": shares(got) if fits else described(got),
        "the masks": f"the same {' and '.join(same)}" if same else "drawn anew for every number and call",
    }


def pre_norm_block(x, norm1, attention, norm2, feed_forward, p, training):
    """The reference: each part reads the stream through its norm; what it returns is dropped in part, and added."""
    for norm, part in ((norm1, attention), (norm2, feed_forward)):
        x = x + F.dropout(part(norm(x)), p, training)
    return x


pre_norm_block = Exercise(pre_norm_block, wired, run=followed)

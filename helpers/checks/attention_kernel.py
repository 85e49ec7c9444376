"""The checks of notebook 02, "Exercises": attention in one pass, as a fused kernel does it."""

import math

import torch

from helpers.checks.marker import Exercise
from helpers.checks.watch import OnePass


def normal(*shape, seed):
    """Return a tensor of standard normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def streams():
    """Return cases of q, k, v and block: whole blocks, a rest, one row, one block, the default; large scores here and there."""
    q, k, v = normal(8, seed=0), normal(12, 8, seed=1), normal(12, 8, seed=2)
    ahead = q * 40 / (q @ q).sqrt()  # its score is large
    first, last = k.clone(), k.clone()
    first[0], last[-1] = 10 * ahead, ahead
    return [
        ("three blocks of 4", (q, k, v, 4)),
        ("a rest of 2", (q, k, v, 5)),
        ("one row at a time", (q, k[:4].clone(), v[:4].clone(), 1)),
        ("a single block, not full", (q, k, v, 30)),
        ("a single key", (q, k[:1].clone(), v[:1].clone(), 4)),
        ("the default block, 40 keys", (normal(6, seed=3), normal(40, 6, seed=4), normal(40, 6, seed=5))),
        ("the largest score comes last", (q, last, v, 4)),
        ("a very large score comes first", (q, first, v, 4)),
        ("scores of several hundred", (30 * q, 30 * k, v, 4)),
        ("scores far below zero", (q, k - 20 * ahead, v, 4)),
        ("equal keys", (q, k[:1].repeat(7, 1), normal(7, 8, seed=6), 3)),
    ]


def in_one_pass(function, q, k, v, *block):
    """Call the function, while k and v can be read in blocks only, each once, and no tensor has room for more."""
    with OnePass(k, v, block=block[0] if block else 16):
        return function(q, k, v, *block)


def attend_in_blocks(q, k, v, block=16):
    """The reference: before each block, both sums are brought to the largest score so far."""
    largest, total, y = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros_like(q)
    for some_k, some_v in zip(k.split(block), v.split(block), strict=True):
        scores = some_k @ q / math.sqrt(len(q))
        new = torch.maximum(largest, scores.max())
        powers, shrink = (scores - new).exp(), (largest - new).exp()
        largest, total, y = new, shrink * total + powers.sum(), shrink * y + powers @ some_v
    return y / total


attend_in_blocks = Exercise(attend_in_blocks, streams, run=in_one_pass)


def blockwise(step, start=-math.inf, scale=True):
    """Return a function that goes over the blocks: step(largest, total, y, scores, v) returns the first three anew."""

    def attempt(q, k, v, block=16):
        largest, total, y = torch.tensor(start), torch.tensor(0.0), torch.zeros_like(q)
        for i in range(0, len(k), block):
            scores = k[i : i + block] @ q / (math.sqrt(len(q)) if scale else 1)
            largest, total, y = step(largest, total, y, scores, v[i : i + block])
        return y / total

    return attempt


def right(largest, total, y, scores, v):
    """Take in one block as it should be done: a step for mistakes that are made elsewhere."""
    new = torch.maximum(largest, scores.max())
    powers, shrink = (scores - new).exp(), (largest - new).exp()
    return new, shrink * total + powers.sum(), shrink * y + powers @ v


@attend_in_blocks.mistake(
    "old sums not scaled down",
    "Right for a single block. When a larger score comes, what was summed is relative to the old one: how much too large?",
)
@blockwise
def _(largest, total, y, scores, v):
    new = torch.maximum(largest, scores.max())
    powers = (scores - new).exp()
    return new, total + powers.sum(), y + powers @ v


@attend_in_blocks.mistake(
    "each block relative to its own largest score",
    "Right for a single block. Powers add up only if they are relative to the same score: which one, in the second block?",
)
@blockwise
def _(largest, total, y, scores, v):
    powers = (scores - scores.max()).exp()
    return largest, total + powers.sum(), y + powers @ v


@attend_in_blocks.mistake(
    "only the weighted sum scaled down", "The sum of the powers is too large. What you do to one sum must be done to the other."
)
@blockwise
def _(largest, total, y, scores, v):
    new = torch.maximum(largest, scores.max())
    powers = (scores - new).exp()
    return new, total + powers.sum(), (largest - new).exp() * y + powers @ v


@attend_in_blocks.mistake(
    "only the sum of the powers scaled down", "The weighted sum is too large. What you do to one sum must be done to the other."
)
@blockwise
def _(largest, total, y, scores, v):
    new = torch.maximum(largest, scores.max())
    powers = (scores - new).exp()
    return new, (largest - new).exp() * total + powers.sum(), y + powers @ v


@attend_in_blocks.mistake(
    "scaled up instead of down",
    "The factor must be at most 1, and 0 for the first block: which of the two largest scores is subtracted from which?",
)
@blockwise
def _(largest, total, y, scores, v):
    new = torch.maximum(largest, scores.max())
    powers, factor = (scores - new).exp(), (new - largest).exp()
    return new, factor * total + powers.sum(), factor * y + powers @ v


@attend_in_blocks.mistake(
    "the largest score not carried on",
    "Right for a single block. With more, only the last one counts: which of the three things is the same before every block?",
)
@blockwise
def _(largest, total, y, scores, v):
    new = torch.maximum(largest, scores.max())
    powers, shrink = (scores - new).exp(), (largest - new).exp()
    return largest, shrink * total + powers.sum(), shrink * y + powers @ v


@attend_in_blocks.mistake(
    "the block's largest score instead of the largest so far",
    "Right until a block's scores lie far below an earlier one: then the old sums are scaled up beyond what float32 holds.",
)
@blockwise
def _(largest, total, y, scores, v):
    new = scores.max()
    powers, shrink = (scores - new).exp(), (largest - new).exp()
    return new, shrink * total + powers.sum(), shrink * y + powers @ v


@attend_in_blocks.mistake(
    "no largest score",
    "Right, until the scores are large or very negative: relative to which score do the powers stay between 0 and 1?",
)
@blockwise
def _(largest, total, y, scores, v):
    return largest, total + scores.exp().sum(), y + scores.exp() @ v


@attend_in_blocks.mistake(
    "a softmax for each block, and the mean of the answers",
    "Right for a single block. A block of low scores should count for little: what of its softmax is lost in the mean?",
)
@blockwise
def _(largest, total, y, scores, v):
    return largest, total + 1, y + scores.softmax(0) @ v


attend_in_blocks.mistake(
    "the largest score starts at zero",
    "Right, until all scores lie far below zero: then every power becomes 0, and 0/0 is NaN. What is below any score?",
)(blockwise(right, start=0.0))

attend_in_blocks.mistake("no scaling", "The weights are too sharp, with any block: what are the scores divided by?")(
    blockwise(right, scale=False)
)


@attend_in_blocks.mistake(
    "rows of the last block left out", "Right where the block divides the number of keys: what becomes of the rest?"
)
def _(q, k, v, block=16):
    whole = len(k) // block * block
    return blockwise(right)(q, k[:whole], v[:whole], block)


@attend_in_blocks.mistake(
    "divided by the sum in every block",
    "Divide once, at the end: a weighted sum that has been divided already can't be added to one that has not.",
)
def _(q, k, v, block=16):
    largest, total, y = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros_like(q)
    for i in range(0, len(k), block):
        largest, total, y = right(largest, total, y, k[i : i + block] @ q / math.sqrt(len(q)), v[i : i + block])
        y = y / total
    return y


@attend_in_blocks.mistake(
    "all scores at once", "The answer is right, but all scores are kept at once. Read one block, take it in, forget it."
)
def _(q, k, v, block=16):
    return (k @ q / math.sqrt(len(q))).softmax(0) @ v


@attend_in_blocks.mistake(
    "all keys read before any value",
    "The answer is right, but all scores are kept, or will be computed twice. Take in a block's values before the next keys.",
)
def _(q, k, v, block=16):
    scores = [some @ q / math.sqrt(len(q)) for some in k.split(block)]
    largest = max(some.max() for some in scores)
    powers = [(some - largest).exp() for some in scores]
    y = sum(some @ some_v for some, some_v in zip(powers, v.split(block), strict=True))
    return y / sum(some.sum() for some in powers)

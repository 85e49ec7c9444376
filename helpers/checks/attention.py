"""The checks of notebook 02, "Exercises"; the first is here, each of the others in a file of its own, attention_*.py."""

import math

import torch

from helpers.checks.attention_gradients import attention_backward
from helpers.checks.attention_heads import multi_head
from helpers.checks.attention_kernel import attend_in_blocks, normal
from helpers.checks.attention_mask import causal_softmax
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch

BY_HAND = "softmax is called; here it is written by hand, with exp and a sum"
SIZES = (3, 8), (6, 6), (17, 54)


def queries():
    """Return cases of one query: usual ones, one key, equal keys, large and very negative scores, many keys."""
    words = torch.tensor([[0.0, 0, 0, 1], [2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 2, 1], [1, 2, 1, 0], [0, 0, 0, 2]])
    prompt = (torch.tensor([2.0, 0, 0, 0]), words, words * torch.tensor([1.0, 1, 1, 0.5]))
    usual = [(f"{S} keys, D = {D}", (normal(D, seed=S), normal(S, D, seed=S + 1), normal(S, D, seed=S + 2))) for S, D in SIZES]
    q, k, v = usual[0][1]
    negative = normal(5, 8, seed=3) - 100 * q  # every key points away from the query
    return [
        ("'is' asks the prompt", prompt),
        *usual,
        ("a single key", (q, k[:1].clone(), v[:1].clone())),
        ("equal keys", (q, k[:1].repeat(5, 1), normal(5, 8, seed=9))),
        ("scores of several hundred", (q, 100 * torch.stack((q, -q, 0.9 * q)) + k, v)),
        ("scores far below zero", (q, negative, normal(5, 8, seed=4))),
        ("300 keys", (q, normal(300, 8, seed=5), normal(300, 8, seed=6))),
    ]


def by_hand(function, q, k, v):
    """Call the function, without softmax and with far fewer tensor operations than a loop over many keys needs."""
    ready = dict.fromkeys(("softmax", "special_softmax", "scaled_dot_product_attention"), BY_HAND)
    with Watch(
        ready,
        most=100,
        loop=f"more than 100 tensor operations for {len(k)} keys, as in a loop (Python's own max and sum loop, too)",
    ):
        return function(q, k, v)


def attend_once(q, k, v):
    """The reference: powers of the scaled scores relative to the largest, divided by their sum, times the values."""
    scores = k @ q / math.sqrt(len(q))
    powers = torch.exp(scores - scores.max())
    return powers / powers.sum() @ v


attend_once = Exercise(attend_once, queries, run=by_hand)


@attend_once.mistake(
    "no scaling", "The weights are too sharp: what happens to the spread of the scores as D grows, and what undoes it?"
)
def _(q, k, v):
    scores = k @ q
    powers = (scores - scores.max()).exp()
    return powers / powers.sum() @ v


@attend_once.mistake(
    "the largest score not subtracted",
    "Right, until the scores are large: exp(89) is more than float32 holds, exp(-150) is 0 in it. Which score should become 0?",
)
def _(q, k, v):
    powers = (k @ q / math.sqrt(len(q))).exp()
    return powers / powers.sum() @ v


@attend_once.mistake(
    "no scaling, and the largest score not subtracted",
    'Two things are missing: the scores grow with D (see "Why divide by √D"), and exp of a large score is beyond float32.',
)
def _(q, k, v):
    powers = torch.exp(k @ q)
    return powers @ v / powers.sum()


@attend_once.mistake("scaled by D", "The weights are too even: is it D or √D by which the spread of the scores grows?")
def _(q, k, v):
    scores = k @ q / len(q)
    powers = (scores - scores.max()).exp()
    return powers / powers.sum() @ v


@attend_once.mistake(
    "scaled by the number of keys",
    "Right only where there are as many keys as features: the spread of a score grows with what, the keys or the length of q?",
)
def _(q, k, v):
    scores = k @ q / math.sqrt(len(k))
    powers = (scores - scores.max()).exp()
    return powers / powers.sum() @ v


@attend_once.mistake(
    "weights not divided by their sum",
    "With equal keys the answer should be the mean of the values: what do your weights sum to?",
)
def _(q, k, v):
    scores = k @ q / math.sqrt(len(q))
    return (scores - scores.max()).exp() @ v


@attend_once.mistake(
    "the largest subtracted in the numerator only",
    "All weights are wrong by one factor: are the powers in the sum the same as those that are divided by it?",
)
def _(q, k, v):
    scores = k @ q / math.sqrt(len(q))
    return (scores - scores.max()).exp() / scores.exp().sum() @ v


@attend_once.mistake(
    "divided by the largest score",
    "Weights stay the same when a number is taken away from all scores, and not when all are divided by it.",
)
def _(q, k, v):
    scores = k @ q / math.sqrt(len(q))
    powers = (scores / scores.max()).exp()
    return powers / powers.sum() @ v


@attend_once.mistake(
    "softmax called",
    "Here the softmax is written by hand: powers, divided by their sum. Then check the scale of the scores too.",
)
def _(q, k, v):
    return torch.softmax(k @ q / math.sqrt(len(q)), dim=0) @ v


@attend_once.mistake(
    "a loop over the keys",
    "The numbers are right. Which product gives the scores of all keys at once, and which one the weighted sum of all values?",
)
def _(q, k, v):
    scores = [k[s] @ q / math.sqrt(len(q)) for s in range(len(k))]
    powers = [(score - max(scores)).exp() for score in scores]
    return sum(power * row for power, row in zip(powers, v, strict=True)) / sum(powers)


EXERCISES = [attend_once, causal_softmax, multi_head, attend_in_blocks, attention_backward]

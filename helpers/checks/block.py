"""The checks of notebook 03, "Exercises": rms_norm is here, the others in files of their own, block_*.py."""

import torch
from torch.nn import functional as F

from helpers.checks.attention_kernel import normal
from helpers.checks.block_activation import compare_activations
from helpers.checks.block_backward import rms_norm_backward
from helpers.checks.block_both_ways import layer_norm_both
from helpers.checks.block_dropped import pre_norm_block
from helpers.checks.block_parts import block_parameters, swiglu
from helpers.checks.block_wiring import parallel_block
from helpers.checks.marker import Exercise


def vectors():
    """Return cases of x, gain and perhaps eps: usual ones, one feature, zeros, tiny and large numbers, a large eps, doubles."""
    sizes = (2, 3, 8), (1, 6, 4), (3, 3, 3), (2, 1, 5)
    usual = [(f"B, T, C = {B}, {T}, {C}", (normal(B, T, C, seed=C) + 1, normal(C, seed=C + 1))) for B, T, C in sizes]
    x, gain = usual[0][1]
    by_hand = torch.tensor([[[1.0, 7, 9, 15]]])
    return [
        ("the four numbers of section 3.2", (by_hand, torch.ones(4))),
        *usual,
        ("one feature", (normal(2, 3, 1, seed=1), normal(1, seed=2))),
        ("a token of zeros", (x * torch.tensor([0.0, 1, 1])[:, None], gain)),
        ("tiny numbers, beside which eps counts", (x / 1000, gain)),
        ("large numbers", (x * 10_000, gain)),
        ("eps = 0.5", (x, gain, 0.5)),
        ("double precision", (x.double(), gain.double())),
    ]


def rms_norm(x, gain, eps=1e-5):
    """The reference: each token's numbers, divided by the root of their mean square."""
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * gain


rms_norm = Exercise(rms_norm, vectors)


def unbiased(x):
    """Return x.var(-1, keepdim=True), without its warning for one feature."""
    return (x - x.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) / (x.size(-1) - 1)


@rms_norm.mistake(
    "layer norm",
    "The mean of each token is taken off, and here it stays: what does your result give for a token of equal numbers?",
)
def _(x, gain, eps=1e-5):
    return F.layer_norm(x, gain.shape, gain, None, eps)


@rms_norm.mistake(
    "divided by the standard deviation",
    "x keeps its mean, but what you divide by has lost it: is the mean square the same as the variance?",
)
def _(x, gain, eps=1e-5):
    return x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() * gain


@rms_norm.mistake(
    "layer norm with the unbiased variance",
    "Two things to look at: the mean, which stays here, and var, which divides by C - 1 (for one feature by zero).",
)
def _(x, gain, eps=1e-5):
    return (x - x.mean(-1, keepdim=True)) / (unbiased(x) + eps).sqrt() * gain


@rms_norm.mistake(
    "divided by the unbiased standard deviation",
    "var and std take the mean off, and divide by C - 1. Here it is the mean of the squares of the numbers themselves.",
)
def _(x, gain, eps=1e-5):
    return x / (unbiased(x) + eps).sqrt() * gain


@rms_norm.mistake(
    "eps outside the root",
    "Right for usual numbers; wrong where eps counts: in the formula, is it added to the mean square, or to its root?",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * gain


@rms_norm.mistake(
    "no eps",
    "Right, except for a token of zeros, which becomes 0/0, and for tiny numbers: what keeps the divisor from being zero?",
)
def _(x, gain, eps=1e-5):
    return x / x.square().mean(-1, keepdim=True).sqrt() * gain


@rms_norm.mistake(
    "eps as a fixed number",
    "Right until the caller gives another eps: is the argument used, or a number written into the formula?",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain


@rms_norm.mistake(
    "no root", "A token ten times as large should give the same. By what does the mean square grow, and by what the token?"
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True) + eps) * gain


@rms_norm.mistake(
    "the square of the mean",
    "First square, then take the mean: numbers of both signs cancel in the mean, and their squares don't.",
)
def _(x, gain, eps=1e-5):
    return x / (x.mean(-1, keepdim=True).square() + eps).sqrt() * gain


@rms_norm.mistake(
    "the sum of the squares",
    "Each token has length one; each number should be about one in size. It is the root of the mean square, not of their sum.",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().sum(-1, keepdim=True) + eps).sqrt() * gain


@rms_norm.mistake(
    "normalised over the tokens",
    "One token's result changes with its neighbours: over which dimension are a token's own numbers?",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(1, keepdim=True) + eps).sqrt() * gain


@rms_norm.mistake(
    "normalised over the batch",
    "One sequence's result changes with the others: over which dimension are a token's own numbers?",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(0, keepdim=True) + eps).sqrt() * gain


@rms_norm.mistake(
    "one number for all tokens",
    "The mean runs over everything, so a loud token silences the others. Each token has its own mean.",
)
def _(x, gain, eps=1e-5):
    return x / (x.square().mean() + eps).sqrt() * gain


@rms_norm.mistake("no gain", "Each feature is multiplied by its own learned number at the end: where does gain come in?")
def _(x, gain, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


EXERCISES = [
    rms_norm,
    rms_norm_backward,
    block_parameters,
    swiglu,
    parallel_block,
    layer_norm_both,
    pre_norm_block,
    compare_activations,
]

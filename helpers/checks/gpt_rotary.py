"""The check of notebook 04 on the project: rotate."""

import torch

from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise


def turned():
    """Return cases of x, start and base: usual ones, one token, one pair, another start, base, type or order in memory."""
    apart = normal(2, 5, 3, 8, seed=6).transpose(1, 2)  # as split_heads makes them: heads moved before the tokens
    return [
        ("one head, four tokens", (normal(1, 1, 4, 4, seed=0),)),
        ("three heads in a batch of 2", (normal(2, 3, 5, 8, seed=1),)),
        ("D = 6", (normal(1, 2, 7, 6, seed=2),)),
        ("a single pair", (normal(2, 1, 3, 2, seed=3),)),
        ("one token at the start", (normal(1, 2, 1, 8, seed=4),)),
        ("one token at place 9", (normal(1, 2, 1, 8, seed=4), 9)),
        ("four tokens from place 30 on", (normal(1, 3, 4, 8, seed=5), 30)),
        ("two tokens from place 500 on", (normal(1, 1, 2, 8, seed=13), 500)),
        ("base 100", (normal(1, 2, 6, 8, seed=7), 0, 100.0)),
        ("base 50, from place 3 on", (normal(2, 2, 6, 10, seed=8), 3, 50.0)),
        ("all sizes 4", (normal(4, 4, 4, 4, seed=9), 2)),
        ("heads moved before the tokens, as in split_heads", (apart,)),
        ("float64", (normal(1, 2, 5, 8, seed=10).double(), 4)),
        ("bfloat16", (normal(1, 2, 5, 8, seed=11).bfloat16(), 4)),
        ("gradients pass", (normal(1, 2, 5, 8, seed=12).requires_grad_(), 1)),
    ]


def exactly(function, x, *rest):
    """Return what the function returns; for bfloat16, whether it is near; and the gradient of a sum, where x asks for one."""
    y = function(x, *rest)
    if isinstance(y, torch.Tensor) and x.dtype == y.dtype == torch.bfloat16 and x.shape == y.shape:
        near = (y.float() - turn(x.float(), *rest)).abs().max() < 0.06
        return {"in bfloat16, as near as it can be": bool(near), "type": str(y.dtype)}
    if x.dtype == torch.bfloat16:
        return {"in bfloat16, as near as it can be": True, "type": str(getattr(y, "dtype", y))}
    if not x.requires_grad:
        return y
    passes = isinstance(y, torch.Tensor) and y.requires_grad and y.shape == x.shape
    grad = torch.autograd.grad((y * y.detach().roll(1, -1)).sum(), x)[0] if passes else "none: y does not require one"
    return {"y": y.detach() if isinstance(y, torch.Tensor) else y, "the gradient that comes to x": grad}


def turn(x, start=0, base=10000.0):
    """Return x turned, each pair as a complex number times exp(iφ)."""
    T, D = x.shape[-2:]
    i = torch.arange(D // 2, dtype=torch.float64)
    place = torch.arange(start, start + T, dtype=torch.float64)
    angle = place[:, None] * base ** (-2 * i / D)  # (T, D/2)
    pairs = torch.complex(x[..., 0::2].double(), x[..., 1::2].double()) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(pairs).flatten(-2).to(x.dtype)


def rotate(x, start=0, base=10000.0):
    """The reference: each pair is a complex number, and to turn it is to multiply it by exp(iφ)."""
    return turn(x, start, base)


rotate = Exercise(rotate, turned, run=exactly, tolerance=3e-4)


def angles(x, start, base, power=-2):
    """Return cosine and sine, (T, D/2) each, of place · base^(power · i / D), in the type of x."""
    T, D = x.shape[-2:]
    a = torch.arange(start, start + T)[:, None] * base ** (power * torch.arange(D // 2) / D)
    return a.cos().to(x.dtype), a.sin().to(x.dtype)


def woven(first, second):
    """Return the numbers of two tensors in turn, as neighbours."""
    return torch.stack((first, second), dim=-1).flatten(-2)


@rotate.mistake(
    "the two halves paired",
    "Right for a single pair. You pair number i with number i + D/2, as some models do; the text pairs neighbours.",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


@rotate.mistake(
    "neighbours read, halves written",
    "Right for a single pair. All numbers are there, in another order: where does the turned b belong, beside its a?",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


@rotate.mistake(
    "turned the other way",
    "Right at place 0 only. Which of the two sines has a minus? Try the pair (1, 0): its b should grow first.",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos + b * sin, b * cos - a * sin)


@rotate.mistake(
    "the turned a used to turn b",
    "The even numbers are right. The formula turns a and b at once: which a is meant in the second one?",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base)
    y = x.clone()
    y[..., 0::2] = y[..., 0::2] * cos - y[..., 1::2] * sin
    y[..., 1::2] = y[..., 0::2] * sin + y[..., 1::2] * cos
    return y


@rotate.mistake("start ignored", "Right for a text from its start. At which place does the first token stand, if start is 30?")
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, 0, base)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake("places counted from 1", "The token at place 0 should stay as it is. Where do your places begin?")
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start + 1, base)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake("base ignored", "Right for the base 10000. Does your function use its argument?")
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, 10000.0)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake(
    "exponent -i/D",
    "The first pair is right, later ones turn too fast. For the last pair the exponent should be nearly -1: is it?",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base, power=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake(
    "exponent -4i/D", "The first pair is right, later ones turn too slowly. Is i in your formula a pair, or its first column?"
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base, power=-4)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake(
    "exponent without its minus", "The first pair is right. Later ones should turn more slowly; yours turn faster and faster."
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base, power=2)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake("one angle for all pairs", "The first pair is right. Every pair has its own i, and so its own angle.")
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base, power=0)
    a, b = x[..., 0::2], x[..., 1::2]
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake("turned twice", "Every angle is twice what it should be: how often does your function turn its x?")
def _(x, start=0, base=10000.0):
    return rotate.reference(rotate.reference(x, start, base), start, base)


@rotate.mistake(
    "heads counted instead of tokens", "x is (B, H, T, D). Which dimension do your places count, and which should they?"
)
def _(x, start=0, base=10000.0):
    return rotate.reference(x.transpose(1, 2), start, base).transpose(1, 2)


@rotate.mistake(
    "the type of x lost",
    "The numbers are right. Cosines in float32 make a product with bfloat16 float32, too: the result's type is x's.",
)
def _(x, start=0, base=10000.0):
    return rotate.reference(x if x.dtype == torch.float64 else x.float(), start, base)


@rotate.mistake(
    "a view of numbers that do not lie in a row",
    "Right where x lies in memory as it reads. After split_heads it doesn't: view refuses, and which method doesn't?",
)
def _(x, start=0, base=10000.0):
    cos, sin = angles(x, start, base)
    a, b = x.view(*x.shape[:-1], -1, 2).unbind(-1) if x.is_contiguous() else x.view(-1, 2).unbind(-1)
    return woven(a * cos - b * sin, a * sin + b * cos)


@rotate.mistake(
    "no gradient", "The numbers are right, but queries and keys get no gradient through them: what cut the way back?"
)
def _(x, start=0, base=10000.0):
    return rotate.reference(x.detach(), start, base)

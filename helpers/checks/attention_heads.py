"""The checks of notebook 02, "Exercises": several heads in one matrix product."""

import math

import torch

from helpers.attention import attention, causal_mask
from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch


def layers():
    """Return cases of x, W_qkv, W_proj, H: usual ones, one head, one token, heads that don't fill C, many heads."""
    sizes = [
        ("C = 8, two heads of 4", 2, 5, 8, 2, 4),
        ("C = 10, three heads of 3", 2, 4, 10, 3, 3),
        ("C = 12, two heads of 10", 1, 6, 12, 2, 10),
        ("one head", 2, 5, 6, 1, 6),
        ("one token", 3, 1, 8, 2, 4),
        ("all sizes 3 but C", 3, 3, 9, 3, 3),
        ("C = 16, seven heads of 2", 1, 9, 16, 7, 2),
        ("a hundred heads of 1", 1, 3, 4, 100, 1),
    ]
    made = []
    for seed, (label, B, T, C, H, D) in enumerate(sizes):
        W_qkv = normal(C, 3 * H * D, seed=seed + 10) * 2 / math.sqrt(C)
        made.append((label, (normal(B, T, C, seed=seed), W_qkv, normal(H * D, C, seed=seed + 20), H)))
    return made


def without_a_loop(function, x, W_qkv, W_proj, H):
    """Call the function with far fewer tensor operations than a loop over many heads needs."""
    with Watch(most=400, loop=f"more than 400 tensor operations for {H} heads, as in a loop"):
        return function(x, W_qkv, W_proj, H)


def multi_head(x, W_qkv, W_proj, H):
    """The reference: cut into q, k and v, each into heads; attention; the heads side by side; the last product."""
    q, k, v = (part.unflatten(-1, (H, -1)).transpose(1, 2) for part in (x @ W_qkv).chunk(3, dim=-1))  # (B, H, T, D)
    y = attention(q, k, v, causal_mask(x.size(1)))
    return y.transpose(1, 2).flatten(2) @ W_proj


multi_head = Exercise(multi_head, layers, run=without_a_loop)


def cut(x, W_qkv, H):
    """Return q, k and v of x, (B, H, T, D) each."""
    B, T, _ = x.shape
    return (x @ W_qkv).view(B, T, 3, H, -1).permute(2, 0, 3, 1, 4)


def joined(y, W_proj):
    """Return (B, T, C) from the heads' answers (B, H, T, D)."""
    return y.transpose(1, 2).flatten(2) @ W_proj


@multi_head.mistake(
    "heads cut by view without a transpose",
    "The shape is right, the tokens are mixed up: a head holds a part of the text. Name dimensions as they lie, then move.",
)
def _(x, W_qkv, W_proj, H):
    B, T, _ = x.shape
    q, k, v = (part.reshape(B, H, T, -1) for part in (x @ W_qkv).chunk(3, dim=-1))
    return joined(attention(q, k, v, causal_mask(T)), W_proj)


@multi_head.mistake(
    "heads joined without a transpose",
    "Right for one head or one token. The answers lie as (B, H, T, D): in which order must they lie to become (B, T, H·D)?",
)
def _(x, W_qkv, W_proj, H):
    B, T, _ = x.shape
    return attention(*cut(x, W_qkv, H), causal_mask(T)).reshape(B, T, -1) @ W_proj


@multi_head.mistake(
    "q, k and v cut inside each head",
    "Right for one head. In W_qkv the queries of all heads come first: does 3 stand before or after the heads in your view?",
)
def _(x, W_qkv, W_proj, H):
    B, T, _ = x.shape
    q, k, v = (x @ W_qkv).view(B, T, H, 3, -1).permute(3, 0, 2, 1, 4)
    return joined(attention(q, k, v, causal_mask(T)), W_proj)


@multi_head.mistake(
    "features before heads",
    "Right for one head. Which lie next to each other in memory, the numbers of one head, or the first numbers of all heads?",
)
def _(x, W_qkv, W_proj, H):
    B, T, _ = x.shape
    q, k, v = (x @ W_qkv).view(B, T, 3, -1, H).permute(2, 0, 4, 1, 3)
    return joined(attention(q, k, v, causal_mask(T)), W_proj)


@multi_head.mistake(
    "keys taken for queries", "A token's key asks, and its query answers: which of the three parts comes first in W_qkv?"
)
def _(x, W_qkv, W_proj, H):
    k, q, v = cut(x, W_qkv, H)
    return joined(attention(q, k, v, causal_mask(x.size(1))), W_proj)


@multi_head.mistake(
    "all heads as one", "Right for one head only: there is one softmax for all of them. Where does H cut the queries and keys?"
)
def _(x, W_qkv, W_proj, H):
    return joined(attention(*cut(x, W_qkv, 1), causal_mask(x.size(1))), W_proj)


@multi_head.mistake(
    "no mask", "Right for one token only. With more, earlier ones change when a later one does: who may look at whom?"
)
def _(x, W_qkv, W_proj, H):
    return joined(attention(*cut(x, W_qkv, H)), W_proj)


@multi_head.mistake(
    "no scaling", "Right for heads of size 1, for others the weights are too sharp: what are the scores divided by?"
)
def _(x, W_qkv, W_proj, H):
    q, k, v = cut(x, W_qkv, H)
    scores = q @ k.transpose(-2, -1) + causal_mask(x.size(1))
    return joined(scores.softmax(-1) @ v, W_proj)


@multi_head.mistake("scaled by √C", "The weights are too even: how many numbers does the query of one head have?")
def _(x, W_qkv, W_proj, H):
    q, k, v = cut(x, W_qkv, H)
    scores = q @ k.transpose(-2, -1) / math.sqrt(x.size(-1)) + causal_mask(x.size(1))
    return joined(scores.softmax(-1) @ v, W_proj)


@multi_head.mistake(
    "softmax over the queries", "Each column of your weights sums to one; each row should: over which dimension is the softmax?"
)
def _(x, W_qkv, W_proj, H):
    q, k, v = cut(x, W_qkv, H)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(x.size(1))
    return joined(scores.softmax(-2) @ v, W_proj)


@multi_head.mistake(
    "head size taken from C",
    "Right where the heads fill C or leave a small remainder. Nothing forces them to: which shape tells you H·D?",
)
def _(x, W_qkv, W_proj, H):
    B, T, C = x.shape
    q, k, v = (x @ W_qkv).view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
    return joined(attention(q, k, v, causal_mask(T)), W_proj)


@multi_head.mistake(
    "zeroed after the softmax",
    "Right for one token. The future is zero, but it still stands in the denominators, and rows do not sum to one.",
)
def _(x, W_qkv, W_proj, H):
    q, k, v = cut(x, W_qkv, H)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)
    return joined(weights.tril() @ v, W_proj)


@multi_head.mistake(
    "heads attend to heads",
    "With one head every token takes its own value: each token is alone. Over which two dimensions do the scores run?",
)
def _(x, W_qkv, W_proj, H):
    B, T, _ = x.shape
    q, k, v = (part.view(B, T, H, -1) for part in (x @ W_qkv).chunk(3, dim=-1))
    return attention(q, k, v, causal_mask(H)).flatten(2) @ W_proj


@multi_head.mistake(
    "the heads taken to fill C",
    "Right where H·D is C. Three heads of 3 leave one of 10 over: how many numbers stand side by side after the heads?",
)
def _(x, W_qkv, W_proj, H):
    B, T, C = x.shape
    q, k, v = (x @ W_qkv).view(B, T, 3, H, C // H).permute(2, 0, 3, 1, 4)
    y = attention(q, k, v, causal_mask(T))
    return y.transpose(1, 2).reshape(B, T, C) @ W_proj


@multi_head.mistake(
    "no last product", "The heads' answers stand side by side, H·D numbers for each token. Which matrix leads back to C?"
)
def _(x, W_qkv, W_proj, H):
    return attention(*cut(x, W_qkv, H), causal_mask(x.size(1))).transpose(1, 2).flatten(2)


@multi_head.mistake(
    "a loop over the heads",
    "The numbers are right. Make the heads a dimension, before the tokens: the products then repeat for each of them.",
)
def _(x, W_qkv, W_proj, H):
    q, k, v = (x @ W_qkv).chunk(3, dim=-1)
    pieces = zip(*(part.chunk(H, dim=-1) for part in (q, k, v)), strict=True)
    heads = [attention(*(piece[:, None] for piece in three), causal_mask(x.size(1)))[:, 0] for three in pieces]
    return torch.cat(heads, dim=-1) @ W_proj

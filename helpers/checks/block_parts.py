"""The checks of notebook 03, "Exercises": the count of a block's parameters, and the gated feed-forward network."""

import torch
from torch.nn import functional as F

from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise


def designs():
    """Return cases of width, heads and perhaps the factor: ours, other factors, heads that don't divide, one head."""
    made = [(384, 7), (12, 3), (48, 4, 1), (10, 3), (384, 7, 2), (64, 1, 4), (5, 4, 3), (6, 6, 6), (1, 1), (768, 12, 4)]
    labels = {(384, 7): "our GPT's block", (768, 12, 4): "as in GPT-2", (1, 1): "a stream of one number"}
    usual = "width {}, heads {}, {}"
    return [(labels.get(d, usual.format(*d[:2], f"factor {d[2]}" if d[2:] else "the usual factor")), d) for d in made]


def block_parameters(embed_size, n_heads, ffn_factor=6):
    """The reference: two norms and four linear layers, n·(m + 1) numbers for each layer from m to n."""
    inner, hidden = embed_size // n_heads * n_heads, ffn_factor * embed_size
    layers = (embed_size, 3 * inner), (inner, embed_size), (embed_size, hidden), (hidden, embed_size)
    return 2 * 2 * embed_size + sum(n * (m + 1) for m, n in layers)


block_parameters = Exercise(block_parameters, designs)


def count(C, H, factor, inner=None, biases=1, norms=4, projections=3):
    """Return a count in which one thing may be wrong."""
    inner, hidden = inner or C // H * H, factor * C
    weights = C * projections * inner + inner * C + 2 * C * hidden
    return norms * C + weights + biases * (projections * inner + C + hidden + C)


@block_parameters.mistake(
    "the inner width taken as C",
    "Right where the heads divide the width. How wide are seven heads side by side in a stream of 384?",
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, inner=embed_size)


@block_parameters.mistake(
    "the head size not rounded down",
    "Parameters come whole, and so do the numbers of a head: which division drops the remainder?",
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, inner=embed_size / n_heads * n_heads)


@block_parameters.mistake(
    "every head as wide as the stream", "Right for one head. The heads share the width between them: how many numbers has one?"
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, inner=embed_size * n_heads)


@block_parameters.mistake(
    "one head only", "Right for one head. All heads stand side by side in one matrix: how often does the head size come?"
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, inner=embed_size // n_heads)


@block_parameters.mistake(
    "no biases in the linear layers", "A linear layer from m to n has weights, and something else: n of them."
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, biases=0)


@block_parameters.mistake(
    "no biases at all",
    "A linear layer and a norm have, besides their weights or gain, one more number for each that they put out.",
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, biases=0, norms=2)


@block_parameters.mistake(
    "the norms' biases forgotten", "Each norm has a gain and something that is added: you are short of 2 C."
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, norms=2)


@block_parameters.mistake(
    "no norms", "The norms are hardly visible, and yet they learn: two of them, with a gain and a bias each."
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, norms=0)


@block_parameters.mistake("three norms", "The last norm of a GPT stands behind all blocks. How many does one block have?")
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, norms=6)


@block_parameters.mistake(
    "one of q, k, v", "You are short of two thirds of attention's first layer: what three things does it make of a token?"
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor, projections=1)


@block_parameters.mistake(
    "no projection of the heads",
    "Attention has a second linear layer: it leads from the heads, side by side, back to the stream.",
)
def _(embed_size, n_heads, ffn_factor=6):
    inner = embed_size // n_heads * n_heads
    return count(embed_size, n_heads, ffn_factor) - inner * embed_size - embed_size


@block_parameters.mistake(
    "the projection's bias as wide as the heads",
    "Right where the heads divide the width. The projection ends in the stream: how many numbers does it put out?",
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor) - embed_size + embed_size // n_heads * n_heads


@block_parameters.mistake(
    "the second layer's bias as wide as the hidden layer",
    "You count too many biases: the feed-forward network's second layer leads back to C numbers, each with one bias.",
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, ffn_factor) - embed_size + ffn_factor * embed_size


@block_parameters.mistake(
    "the factor always six", "Right for the usual factor: what happens in your count when ffn_factor changes?"
)
def _(embed_size, n_heads, ffn_factor=6):
    return count(embed_size, n_heads, 6)


def gated():
    """Return cases of x and three matrices: usual sizes, square ones, one hidden unit, one token, zeros, large numbers."""
    sizes = [("", 2, 3, 4, 6), ("", 1, 6, 8, 32), ("square matrices", 2, 3, 5, 5), ("one hidden unit", 2, 2, 3, 1)]
    sizes += [("one token", 1, 1, 6, 9), ("hidden narrower than C", 2, 4, 7, 3)]
    made = []
    for seed, (label, B, T, C, hidden) in enumerate(sizes):
        w1, w2, w3 = normal(hidden, C, seed=seed), normal(hidden, C, seed=seed + 10), normal(C, hidden, seed=seed + 20)
        made.append((label or f"C = {C}, hidden = {hidden}", (normal(B, T, C, seed=seed + 30), w1, w2, w3)))
    x, *weights = made[2][1]
    made += [("tokens of zeros", (torch.zeros_like(x), *weights)), ("gates of several hundred", (x * 200, *weights))]
    return [*made, ("double precision", (x.double(), *(w.double() for w in weights)))]


def swiglu(x, w1, w2, w3):
    """The reference: SiLU(x W₁ᵀ) times x W₂ᵀ, number by number, then W₃ᵀ."""
    gate = x @ w1.T
    return (gate * torch.sigmoid(gate) * (x @ w2.T)) @ w3.T


swiglu = Exercise(swiglu, gated)


def gate_mistake(name, nudge, hidden):
    """File a mistake in the hidden values, which are made from the gate's z and the value."""
    swiglu.mistake(name, nudge)(lambda x, w1, w2, w3: hidden(x @ w1.T, x @ w2.T) @ w3.T)


gate_mistake(
    "gate and value swapped",
    "One of the two layers is bent, the other not: which of W₁ and W₂ stands inside the SiLU?",
    lambda z, value: z * F.silu(value),
)
gate_mistake(
    "sigmoid for SiLU",
    "For z = 2 the sigmoid is about 0.88, and the SiLU twice that: which factor is missing?",
    lambda z, value: z.sigmoid() * value,
)
gate_mistake("no bend", "The gate is not bent at all: SiLU lies around W₁ x.", lambda z, value: z * value)
gate_mistake("ReLU for SiLU", "A negative gate gives zero, and should give a little less than zero.", lambda z, v: z.relu() * v)
gate_mistake("GELU for SiLU", "Nearly right: z times a curve, but SiLU's curve is the sigmoid.", lambda z, v: F.gelu(z) * v)
gate_mistake(
    "both bent",
    "Only the gate is bent: the values that it multiplies stay as W₂ made them.",
    lambda z, v: F.silu(z) * F.silu(v),
)
gate_mistake(
    "bent after the product", "The bend lies around W₁ x alone: first bend the gate, then multiply.", lambda z, v: F.silu(z * v)
)
gate_mistake(
    "gate and value added", "⊙ multiplies, number by number: a gate of zero lets nothing through.", lambda z, v: F.silu(z) + v
)
gate_mistake("no value", "This is a network with a SiLU, but nothing is gated: where does W₂ come in?", lambda z, v: F.silu(z))
gate_mistake(
    "softmax for SiLU",
    "Each hidden unit has its own gate. A softmax makes the units share a sum of one.",
    lambda z, v: z.softmax(-1) * v,
)
gate_mistake(
    "the sigmoid as exp(z) / (1 + exp(z))",
    "Right, until z is large: exp(89) is more than float32 holds, and ∞/∞ is NaN. Is there another way to write it?",
    lambda z, v: z * z.exp() / (1 + z.exp()) * v,
)


@swiglu.mistake(
    "weights not transposed", "The tokens are rows here, and W₁ is stored as (hidden, C): what must x be multiplied by?"
)
def _(x, w1, w2, w3):
    return (F.silu(x @ w1) * (x @ w2)) @ w3


@swiglu.mistake(
    "only the last matrix not transposed",
    "W₃ is stored as (C, hidden), and your hidden values are rows: what must stand there?",
)
def _(x, w1, w2, w3):
    return (F.silu(x @ w1.T) * (x @ w2.T)) @ w3


@swiglu.mistake("no way back", "The hidden values are right. W₃ leads them back to the width of the stream.")
def _(x, w1, w2, w3):
    return F.silu(x @ w1.T) * (x @ w2.T)

"""The check of notebook 03, "Exercises": layer norm, forward and backward, from memory."""

import torch
from torch.nn import functional as F

from helpers.checks.block_backward import mean, tokens, watched
from helpers.checks.marker import Exercise

NAMES = "the output", "the gradient of x", "the gradient of gain", "the gradient of bias"


def with_bias():
    """Return the cases of `tokens` as x, gain, bias, grad and perhaps eps; the bias is another one for every width."""
    biases = {C: torch.linspace(-1, 1, C) + 0.3 for C in range(1, 9)}
    return [(label, (x, gain, biases[len(gain)].to(x.dtype), grad, *eps)) for label, (x, gain, grad, *eps) in tokens()]


def in_order(function, *arguments):
    """Return the four results by name, the simplest first: of what is wrong, the first is told."""
    got = watched(function, NAMES, *arguments)
    return {name: got[name] for name in (NAMES[0], NAMES[3], NAMES[2], NAMES[1])}


def layer_norm_both(x, gain, bias, grad, eps=1e-5):
    """The reference: for each token, its output, and all derivatives of its normalised numbers by its numbers in a table."""
    C = x.size(-1)
    out, grad_x, grad_gain = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(gain)
    for place in torch.cartesian_prod(torch.arange(x.size(0)), torch.arange(x.size(1))).tolist():
        deviations = x[*place] - x[*place].mean()
        scale = (deviations @ deviations / C + eps).sqrt()
        normed = deviations / scale
        table = (torch.eye(C, dtype=x.dtype) - 1 / C - normed.outer(normed) / C) / scale  # (C, C)
        out[*place] = normed * gain + bias
        grad_x[*place] = table @ (grad[*place] * gain)
        grad_gain += grad[*place] * normed
    return out, grad_x, grad_gain, grad.sum((0, 1))


layer_norm_both = Exercise(layer_norm_both, with_bias, run=in_order)


def scale_of(x, eps, less=0):
    """Return the root of variance and eps of each token, (B, T, 1)."""
    return ((x - mean(x)).square().sum(-1, keepdim=True) / (x.size(-1) - less) + eps).sqrt()


def back(h, normed, scale):
    """Return the gradient of x."""
    return (h - mean(h) - normed * mean(h * normed)) / scale


def norm_mistake(name, nudge, scale=scale_of, middle=mean):
    """File a mistake in mean or scale, made from x and eps, that spoils the output and both ways back."""

    def wrong(x, gain, bias, grad, eps=1e-5):
        s = scale(x, eps)
        normed = (x - middle(x)) / s
        return normed * gain + bias, back(grad * gain, normed, s), (grad * normed).sum((0, 1)), grad.sum((0, 1))

    layer_norm_both.mistake(name, nudge)(wrong)


def back_mistake(name, nudge, **parts):
    """File a mistake in one of the results out, x, gain or bias, made from a dictionary of all that is known."""
    right = {
        "out": lambda k: k["normed"] * k["gain"] + k["bias"],
        "x": lambda k: back(k["h"], k["normed"], k["scale"]),
        "gain": lambda k: (k["grad"] * k["normed"]).sum((0, 1)),
        "bias": lambda k: k["grad"].sum((0, 1)),
    }

    def wrong(x, gain, bias, grad, eps=1e-5):
        scale = scale_of(x, eps)
        known = {"x": x, "gain": gain, "bias": bias, "grad": grad, "scale": scale}
        known |= {"normed": (x - mean(x)) / scale, "h": grad * gain}
        return tuple((right | parts)[name](known) for name in ("out", "x", "gain", "bias"))

    layer_norm_both.mistake(name, nudge)(wrong)


norm_mistake(
    "the unbiased variance",
    "On (1, 7, 9, 15) the standard deviation is 5. var and std divide by C - 1 unless they are told otherwise.",
    lambda x, eps: scale_of(x, eps, less=1),
)
norm_mistake(
    "the variance without the mean taken off",
    "You divide by the root of the mean square. The variance is the mean square of what is left when the mean has gone.",
    lambda x, eps: (mean(x.square()) + eps).sqrt(),
)
norm_mistake(
    "eps outside the root",
    "Right for usual numbers; wrong where eps counts: is it added to the variance, or to its root?",
    lambda x, eps: scale_of(x, 0) + eps,
)
norm_mistake(
    "the unbiased deviation, eps added to it",
    "std() divides by C - 1, and epsilon belongs inside the root: first the variance, then epsilon, then the root.",
    lambda x, eps: scale_of(x, 0, less=1) + eps,
)
norm_mistake(
    "no eps",
    "Right for usual tokens. A token of equal numbers has no variance: what keeps the divisor from being zero?",
    lambda x, eps: scale_of(x, 0),
)
norm_mistake(
    "no root",
    "The numbers are divided by their variance. What has the same unit as the numbers?",
    lambda x, eps: scale_of(x, eps).square(),
)
norm_mistake(
    "normalised over the tokens",
    "A token's result changes with its neighbours. Which dimension holds a token's own numbers?",
    lambda x, eps: (x.var(1, keepdim=True, correction=0) + eps).sqrt(),
    lambda x: x.mean(1, keepdim=True),
)
norm_mistake(
    "normalised over the batch",
    "A sequence's result changes with the others: this is batch normalisation. Which dimension holds a token's own numbers?",
    lambda x, eps: (x.var(0, keepdim=True, correction=0) + eps).sqrt(),
    lambda x: x.mean(0, keepdim=True),
)
norm_mistake(
    "one mean and variance for everything",
    "A loud token makes the others silent. Each token has its own mean and its own variance.",
    lambda x, eps: (x.var(correction=0) + eps).sqrt(),
    lambda x: x.mean(),
)
back_mistake(
    "no bias",
    "All gradients are right. One learned number is added to each feature at the end.",
    out=lambda k: k["normed"] * k["gain"],
)
back_mistake(
    "the bias before the gain",
    "All gradients are right. In y = x̂ g + b, is the bias multiplied by the gain?",
    out=lambda k: (k["normed"] + k["bias"]) * k["gain"],
)
back_mistake(
    "the way through the mean missing",
    "Only the gradient of x is wrong. The same added to all of x changes nothing: does your gradient of a token sum to zero?",
    x=lambda k: (k["h"] - k["normed"] * mean(k["h"] * k["normed"])) / k["scale"],
)
back_mistake(
    "the way through the variance missing",
    "Only the gradient of x is wrong. A token twice as large changes nothing: is your gradient at right angles to the token?",
    x=lambda k: (k["h"] - mean(k["h"])) / k["scale"],
)
back_mistake(
    "the direct way only",
    "Only the gradient of x is wrong. A number acts on its own result, and through mean and variance on all others.",
    x=lambda k: k["h"] / k["scale"],
)
back_mistake(
    "the direct way missing",
    "Only the gradient of x is wrong. Mean and variance are there; what of x's own place in the numerator?",
    x=lambda k: -(mean(k["h"]) + k["normed"] * mean(k["h"] * k["normed"])) / k["scale"],
)
back_mistake(
    "not divided by the scale",
    "Only the gradient of x is wrong. Forward there was a division: a token with a large spread gets a small gradient.",
    x=lambda k: back(k["h"], k["normed"], 1),
)
back_mistake(
    "the gain left out on the way to x",
    "Only the gradient of x is wrong. What arrives at x̂ has passed the gain: what is h?",
    x=lambda k: back(k["grad"], k["normed"], k["scale"]),
)
back_mistake(
    "x in place of the normalised x",
    "Only the gradient of x is wrong. In the last term stands x̂, twice, not x.",
    x=lambda k: back(k["h"], k["x"], k["scale"]),
)
back_mistake(
    "sums for means",
    "Only the gradient of x is wrong. Each number is one of C in the mean and in the variance: where is that C?",
    x=lambda k: (
        (k["h"] - k["h"].sum(-1, keepdim=True) - k["normed"] * (k["h"] * k["normed"]).sum(-1, keepdim=True)) / k["scale"]
    ),
)
back_mistake(
    "the gradients of gain and bias not summed",
    "Gain and bias serve all tokens of all sequences: their gradients have their shape, (C,), and collect from everywhere.",
    gain=lambda k: k["grad"] * k["normed"],
    bias=lambda k: k["grad"],
)
back_mistake(
    "the gradients of gain and bias summed over everything",
    "Each feature has a gain and a bias of its own: over batch and tokens there is a sum, over the features there is none.",
    gain=lambda k: (k["grad"] * k["normed"]).sum(),
    bias=lambda k: k["grad"].sum(),
)
back_mistake(
    "one mean for all tokens on the way back",
    "Only the gradient of x is wrong, and only where there are several tokens: mean() without a dimension mixes them.",
    x=lambda k: (k["h"] - k["h"].mean() - k["normed"] * (k["h"] * k["normed"]).mean()) / k["scale"],
)
back_mistake(
    "the gradients of gain and bias summed over the batch only",
    "Gain and bias serve all sequences and all places: one of the two sums is missing.",
    gain=lambda k: (k["grad"] * k["normed"]).sum(0),
    bias=lambda k: k["grad"].sum(0),
)
back_mistake(
    "the gain's gradient from x itself",
    "Only the gradient of gain is wrong. What does the gain multiply: x, or the normalised x?",
    gain=lambda k: (k["grad"] * k["x"]).sum((0, 1)),
)
back_mistake(
    "the gain's gradient from the output",
    "Only the gradient of gain is wrong. The gain multiplies x̂, before the bias comes to it.",
    gain=lambda k: (k["grad"] * (k["normed"] * k["gain"] + k["bias"])).sum((0, 1)),
)
back_mistake(
    "the bias's gradient times the gain",
    "Only the gradient of bias is wrong. The bias is added last: does it pass the gain?",
    bias=lambda k: k["h"].sum((0, 1)),
)


@layer_norm_both.mistake(
    "a finished norm", "The output is right. From memory means: a mean, a variance, a root, a gain and a bias."
)
def _(x, gain, bias, grad, eps=1e-5):
    _, *gradients = layer_norm_both.reference(x, gain, bias, grad, eps)
    return F.layer_norm(x, gain.shape, gain, bias, eps), *gradients


@layer_norm_both.mistake("gradient of x returned last", "They are right, in another order: output, then x, gain and bias.")
def _(x, gain, bias, grad, eps=1e-5):
    out, grad_x, grad_gain, grad_bias = layer_norm_both.reference(x, gain, bias, grad, eps)
    return out, grad_gain, grad_bias, grad_x


@layer_norm_both.mistake("autograd", "Autograd is good for comparing. From memory means: h, and three ways back to x.")
def _(x, gain, bias, grad, eps=1e-5):
    inputs = [m.clone().requires_grad_() for m in (x, gain, bias)]
    out = (inputs[0] - mean(inputs[0])) / scale_of(inputs[0], eps) * inputs[1] + inputs[2]
    return out, *torch.autograd.grad(out, inputs, grad)

"""The checks of notebook 04, "Exercises"; counting is here, each of the others in a file of its own, gpt_*.py."""

import math

from helpers.checks.gpt_bill import bill
from helpers.checks.gpt_probes import leaks
from helpers.checks.gpt_rotary import rotate
from helpers.checks.gpt_sizes import NoTensors, configurations, sizes
from helpers.checks.gpt_tying import tie
from helpers.checks.gpt_waves import wave_positions
from helpers.checks.marker import Exercise


def configured():
    """Return cases of a configuration."""
    return [(label, (config,)) for label, config in configurations()]


def without_tensors(function, config):
    """Call the function, while no tensor may be made."""
    with NoTensors():
        return function(config)


def count_parameters(config):
    """The reference: the shapes of all parameters, one after the other, as the layers of GPT list them."""
    V, T, C, L, inner = sizes(config)
    norm = [(C,), (C,)]
    attention = [(C, 3 * inner), (3 * inner,), (inner, C), (C,)]
    feed_forward = [(C, 6 * C), (6 * C,), (6 * C, C), (C,)]
    shapes = [(V, C), (T, C), *L * (norm + attention + norm + feed_forward), *norm]
    return sum(math.prod(shape) for shape in shapes)


count_parameters = Exercise(count_parameters, configured, run=without_tensors)


@count_parameters.mistake(
    "the inner width taken for C",
    "Right where the heads divide the width. Seven heads of 54 fill 378 of 384: which matrices have that side?",
)
def _(config):
    V, T, C, L, _ = sizes(config)
    return V * C + T * C + L * (4 * C * C + 4 * C + 12 * C * C + 7 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "the tied matrix counted twice",
    "You have V · C parameters too many. Two layers use that matrix; how many times does PyTorch store it?",
)
def _(config):
    V, T, C, L, inner = sizes(config)
    block = 4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 4 * C
    return V * C + T * C + L * block + 2 * C + C * V


@count_parameters.mistake(
    "no position table",
    "You miss T · C parameters. How does the model know at which place a token stands, and up to which one?",
)
def _(config):
    V, _, C, L, inner = sizes(config)
    return V * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "no biases", "Matrices and norms are right. In the blocks each linear layer also has one number for each of its outputs."
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return (V + T) * C + L * (4 * C * inner + 12 * C * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "no biases in attention",
    "The feed-forward layers are right. Do attention's two linear layers have biases, and of what length?",
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 12 * C * C + 7 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "a single bias of attention's first layer for q, k and v",
    "The layer qkv has 3 · H · D outputs: has each of them a bias, or a third of them?",
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + inner + C + 12 * C * C + 7 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "a bias of H · D numbers after attention",
    "Right where the heads divide the width. The projection leads back to C: a bias has the length of the output.",
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 4 * inner + 12 * C * C + 7 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "no final norm", "You miss 2 · C parameters, whatever the number of layers: what comes after the stack?"
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 4 * C)


@count_parameters.mistake(
    "no norms at all", "A LayerNorm divides by a measured spread, but then it scales and shifts: by numbers that are learned."
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C)


@count_parameters.mistake(
    "norms without their shifts", "The scales of the norms are there. What else does a LayerNorm learn for each feature?"
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 2 * C) + C


@count_parameters.mistake(
    "one norm in each block",
    "You miss 2 · C parameters in every block. What stands before attention, and what before feed-forward?",
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 2 * C) + 2 * C


@count_parameters.mistake(
    "feed-forward four times as wide", "Four is the factor of GPT-2 and of the paper. Which one does our model have?"
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 8 * C * C + 5 * C + 4 * C) + 2 * C


@count_parameters.mistake(
    "a bias in the head", "You have V parameters too many. What does the table of section 4.10 say about the head's biases?"
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return V * C + T * C + L * (4 * C * inner + 3 * inner + C + 12 * C * C + 7 * C + 4 * C) + 2 * C + V


@count_parameters.mistake(
    "matrices only", "Every matrix is right. What has a parameter with one dimension: which layers have biases, which scales?"
)
def _(config):
    V, T, C, L, inner = sizes(config)
    return C * (V + T + L * (4 * inner + 12 * C))


@count_parameters.mistake(
    "matrices only, and the inner width taken for C",
    "Two things: seven heads of 54 fill 378 of 384; and biases and norms are parameters too, if short ones.",
)
def _(config):
    V, T, C, L, _ = sizes(config)
    return V * C + T * C + L * (4 * C * C + 2 * 6 * C * C)


@count_parameters.mistake(
    "a model or a tensor made",
    "Asking the finished model gives the number, not the reason for it. Add up the table of section 4.10.",
)
def _(config):
    from helpers.gpt import GPT

    return GPT(config).n_parameters()


EXERCISES = [count_parameters, tie, bill, leaks, wave_positions, rotate]

"""The checks of notebook 00, "Exercises, hints and checks"."""

import random

from helpers.checks.marker import Exercise


def lists_of_numbers():
    """Return cases for the mean: the first one comes out even by chance."""
    rng = random.Random(0)
    drawn = [("random numbers", ([round(rng.uniform(-5, 5), 2) for _ in range(n)],)) for n in (2, 5, 9)]
    return [("three numbers", ([1, 2, 6],)), ("two numbers", ([1, 2],)), ("one number", ([0.25],)), *drawn]


def mean(numbers):
    """The reference: the sum, shared out."""
    return sum(numbers) / len(numbers)


mean = Exercise(mean, lists_of_numbers)


@mean.mistake("// in place of /", "It comes out right where nothing is left over: what does // do with the rest?")
def _(numbers):
    return sum(numbers) // len(numbers)


@mean.mistake("the sum", "Sums grow with the number of terms; means do not. What is missing?")
def _(numbers):
    return sum(numbers)


@mean.mistake("the middle number", "That is the median, which does not mind how far out the others are.")
def _(numbers):
    return sorted(numbers)[len(numbers) // 2]


def distributions():
    """Return cases of probabilities: usual ones, ties, a single one, and a flat one."""
    rng = random.Random(1)
    drawn = [[rng.random() for _ in range(n)] for n in (4, 7)]
    made = [("three tokens", [0.2, 0.7, 0.1]), ("two are equally high", [0.4, 0.2, 0.4]), ("a single token", [1.0])]
    made += [("random", [p / sum(ps) for p in ps]) for ps in drawn] + [("all are equal", [0.25] * 4)]
    return [(label, (probs,)) for label, probs in made]


def likeliest(probs):
    """The reference: the first place of the highest number."""
    return probs.index(max(probs))


likeliest = Exercise(likeliest, distributions)


@likeliest.mistake("the probability itself", "Its place was asked for: which token is it, the first, the second …?")
def _(probs):
    return max(probs)


@likeliest.mistake("the last of two equal ones", "Where two are equally high, the first counts: is that a >= in your code?")
def _(probs):
    return max(range(len(probs)), key=lambda i: (probs[i], i))


@likeliest.mistake("the least likely one", "You take the lowest number; the highest was asked for.")
def _(probs):
    return probs.index(min(probs))


@likeliest.mistake("counted from one", "Places are counted from 0 in Python, and tokens too.")
def _(probs):
    return probs.index(max(probs)) + 1


def trainings():
    """Return cases of (parameters, tokens, FLOPs per second): round numbers, the reference model, small ones."""
    made = [("a million each", (1e6, 1e6, 1e11)), ("the reference model", (19_833_858, 409_600_000, 1e12))]
    return [*made, ("tiny", (1_327_488, 3_891_200, 9e10)), ("almost nothing", (10, 20, 1e3))]


def training_minutes(n_parameters, n_tokens, flops_per_second):
    """The reference: six FLOPs for each parameter and token; a minute has sixty seconds."""
    return 6 * n_parameters * n_tokens / flops_per_second / 60


training_minutes = Exercise(training_minutes, trainings)


@training_minutes.mistake("seconds", "FLOPs divided by FLOPs per second are seconds; minutes were asked for.")
def _(n_parameters, n_tokens, flops_per_second):
    return 6 * n_parameters * n_tokens / flops_per_second


@training_minutes.mistake("hours", "You divided by 60 twice: those are hours.")
def _(n_parameters, n_tokens, flops_per_second):
    return 6 * n_parameters * n_tokens / flops_per_second / 3600


@training_minutes.mistake(
    "the way forward alone", "Two FLOPs take a token forward through a parameter; the way back costs more."
)
def _(n_parameters, n_tokens, flops_per_second):
    return 2 * n_parameters * n_tokens / flops_per_second / 60


@training_minutes.mistake(
    "one FLOP for each parameter", "How many FLOPs does one parameter cost for one token, there and back?"
)
def _(n_parameters, n_tokens, flops_per_second):
    return n_parameters * n_tokens / flops_per_second / 60


EXERCISES = [mean, likeliest, training_minutes]

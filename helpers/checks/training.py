"""The checks of notebook 05, "Exercises"; the first is here, each of the others in a file of its own, training_*.py."""

import math
from statistics import mean

from helpers.checks.marker import Exercise
from helpers.checks.training_accumulation import accumulate
from helpers.checks.training_adamw import adamw, by_name
from helpers.checks.training_compare import compare_recipes
from helpers.checks.training_forgotten import train_some
from helpers.checks.training_loss import masked_cross_entropy
from helpers.checks.training_schedule import warmup_stable_decay

NAMES = "nats per token", "perplexity", "bits per byte"


def texts():
    """Return cases of losses, tokens and bytes of parts: one part, equal and very unequal ones, several scripts, many."""
    return [
        ("two parts of different length", ([2.0, 4.0], [300, 100], [1000, 500])),
        ("one part", ([1.25], [64], [301])),
        ("parts of one length", ([3.0, 5.0, 4.5], [128, 128, 128], [500, 610, 480])),
        ("a long part and a very short one", ([3.2, 9.0], [5000, 3], [21000, 4])),
        ("a second part in another script", ([2.5, 1.5], [100, 400], [420, 380])),
        ("a model that knows the text", ([0.0, 0.0], [10, 20], [31, 70])),
        ("the uniform guess", ([math.log(8192)] * 2, [100, 50], [375, 190])),
        (
            "many parts",
            ([2 + i % 5 / 2 for i in range(30)], [10 + i**2 for i in range(30)], [45 + 3 * i**2 for i in range(30)]),
        ),
    ]


def named(function, losses, tokens, n_bytes):
    """Call the function, and give each of its three numbers its name."""
    return by_name(function(losses, tokens, n_bytes), *NAMES)


def three_numbers(losses, tokens, n_bytes):
    """The reference: all nats by all tokens; e to that; all bits by all bytes."""
    nats = sum(loss * n for loss, n in zip(losses, tokens, strict=True))
    return nats / sum(tokens), math.exp(nats / sum(tokens)), nats / math.log(2) / sum(n_bytes)


three_numbers = Exercise(three_numbers, texts, run=named)


def weighted(numbers, weights):
    """Return the mean of numbers with weights."""
    return sum(number * weight for number, weight in zip(numbers, weights, strict=True)) / sum(weights)


def numbers_mistake(name, nudge, wrong):
    """File a mistake, made from (nats per token, tokens, bytes, losses, tokens of each part, bytes of each part)."""
    three_numbers.mistake(name, nudge)(
        lambda losses, tokens, n_bytes: wrong(weighted(losses, tokens), sum(tokens), sum(n_bytes), losses, tokens, n_bytes)
    )


def all_from(nats, tokens, n_bytes):
    """Return the three numbers, all made from one loss."""
    return nats, math.exp(nats), nats * tokens / math.log(2) / n_bytes


numbers_mistake(
    "each part counted alike",
    "Right for parts of one length. A part of three tokens has as much say here as one of thousands: what should weigh a loss?",
    lambda nats, tokens, n_bytes, losses, *parts: all_from(mean(losses), tokens, n_bytes),
)
numbers_mistake(
    "weighted by bytes",
    "A loss in nats per token is a mean over tokens. By what must it be multiplied, to become the sum it was made from?",
    lambda nats, tokens, n_bytes, losses, each, each_bytes: all_from(weighted(losses, each_bytes), tokens, n_bytes),
)
numbers_mistake(
    "the sum of the losses for their mean",
    "A text isn't harder because it was measured in more parts: with equal parts the loss should lie between theirs.",
    lambda nats, tokens, n_bytes, losses, *parts: all_from(sum(losses), tokens, n_bytes),
)
numbers_mistake(
    "the mean of the perplexities",
    "Right for one part. e to a mean is not the mean of e to each: first the loss of the whole, then its perplexity.",
    lambda nats, tokens, n_bytes, losses, each, _: (
        nats,
        weighted(map(math.exp, losses), each),
        all_from(nats, tokens, n_bytes)[2],
    ),
)
numbers_mistake(
    "two to the nats",
    "The perplexity of the uniform guess should be the size of the vocabulary, 8192: a loss in nats has which base?",
    lambda nats, tokens, n_bytes, *parts: (nats, 2**nats, all_from(nats, tokens, n_bytes)[2]),
)
numbers_mistake(
    "nats per byte",
    "Only the third number is wrong, and too small by one factor everywhere: how many nats has a bit?",
    lambda nats, tokens, n_bytes, *parts: (nats, math.exp(nats), nats * tokens / n_bytes),
)
numbers_mistake(
    "multiplied by ln 2",
    "Only the third number is wrong. A bit is less than a nat, so there must be more bits than nats, not fewer.",
    lambda nats, tokens, n_bytes, *parts: (nats, math.exp(nats), nats * math.log(2) * tokens / n_bytes),
)
numbers_mistake(
    "bits per token",
    "The third number is in bits, but for each token. How many bytes has a token of this text?",
    lambda nats, tokens, n_bytes, *parts: (nats, math.exp(nats), nats / math.log(2)),
)
numbers_mistake(
    "multiplied by the bytes of a token",
    "A token of four bytes shares its bits among them: should a byte have more bits than the token, or fewer?",
    lambda nats, tokens, n_bytes, *parts: (nats, math.exp(nats), nats / math.log(2) * n_bytes / tokens),
)
numbers_mistake(
    "the mean of the parts' bits per byte",
    "Only the third number is wrong, and only if tokens are longer in one part than in another: divide all bits by all bytes.",
    lambda nats, tokens, n_bytes, losses, each, each_bytes: (
        nats,
        math.exp(nats),
        weighted((loss / math.log(2) * n / b for loss, n, b in zip(losses, each, each_bytes, strict=True)), each),
    ),
)
numbers_mistake(
    "the mean of the bytes per token",
    "Only the third number is wrong. In the whole text a token has all bytes by all tokens, not the mean over the parts.",
    lambda nats, tokens, n_bytes, losses, each, each_bytes: (
        nats,
        math.exp(nats),
        nats / math.log(2) / mean(b / n for b, n in zip(each_bytes, each, strict=True)),
    ),
)

EXERCISES = [three_numbers, masked_cross_entropy, warmup_stable_decay, adamw, accumulate, train_some, compare_recipes]

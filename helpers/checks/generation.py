"""The checks of notebook 06, "Exercises"; the first is here, each of the others in a file of its own, generation_*.py."""

import torch

from helpers.checks.generation_beams import beam_search
from helpers.checks.generation_cache import attend_with_cache
from helpers.checks.generation_topics import topic_bits
from helpers.checks.generation_window import generate_by_halves
from helpers.checks.marker import Exercise

OFF = (1.0, 10_000, 1.0, 0.0)  # temperature, k, p, share


def settings():
    """Return cases of logits and settings: each rule alone, pairs of them, all four, equal tokens, extreme logits."""
    toy = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    usual = 2 * torch.randn(60, generator=torch.Generator().manual_seed(0))
    equal, sure = torch.zeros(4), torch.tensor([2.0, 25.0, 1.0, 0.0, 3.0])
    two = torch.tensor([1.0, 3.0, 3.0, 0.0])
    return [
        ("everything off", (toy, *OFF)),
        ("temperature 0.5", (toy, 0.5, 4, 1.0, 0.0)),
        ("two tokens, k = 2", (toy, 1.0, 2, 1.0, 0.0)),
        ("p = 0.6", (toy, 1.0, 4, 0.6, 0.0)),
        ("a share of 0.4", (toy, 1.0, 4, 1.0, 0.4)),
        ("60 tokens, all four steps", (usual, 1.5, 40, 0.9, 0.12)),
        ("60 tokens, k = 7, then p = 0.7", (usual, 1.0, 7, 0.7, 0.0)),
        ("60 tokens, temperature 2 and p = 0.8", (usual, 2.0, 60, 0.8, 0.0)),
        ("60 tokens, p = 0.8, and a share of 0.2", (usual, 1.0, 60, 0.8, 0.2)),
        ("a nearly certain token, p = 0.5", (sure, 1.0, 5, 0.5, 0.0)),
        ("a nearly certain token, everything off", (sure, *OFF)),
        ("four equal tokens, k = 3", (equal, 1.0, 3, 1.0, 0.0)),
        ("four equal tokens, p = 0.5", (equal, 1.0, 4, 0.5, 0.0)),
        ("two equal tokens lead, a share of 1", (two, 1.0, 4, 1.0, 1.0)),
        ("temperature 1e-38", (usual, 1e-38, 60, 0.9, 0.1)),
    ]


def compared(function, logits, temperature, k, p, share):
    """Return the probabilities, and how many are above 0; which of several equal tokens stay is left open."""
    asked = logits.clone()
    probs = function(logits, temperature, k, p, share)
    if not isinstance(probs, torch.Tensor) or probs.shape != asked.shape:
        return {"probabilities": probs, "tokens above 0": 0}
    probs = probs.clone()
    for value in asked.unique():
        probs[asked == value] = probs[asked == value].sort(descending=True).values
    return {"probabilities": probs, "tokens above 0": int((probs > 0).sum())}


def largest(probs, k):
    """Return the probabilities that top-k leaves, scaled to sum to one."""
    kept, where = probs.topk(min(k, len(probs)))
    return torch.zeros_like(probs).scatter(0, where, kept / kept.sum())


def nucleus(probs, p):
    """Return the probabilities that top-p leaves, scaled to sum to one."""
    ordered, where = probs.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    kept = probs.scatter(0, where, ordered.masked_fill(before >= p, 0.0)) if p < 1 else probs
    return kept / kept.sum()


def fit(probs, share):
    """Return the probabilities that min-p leaves, scaled to sum to one."""
    kept = probs.masked_fill(probs < share * probs.max(), 0.0)
    return kept / kept.sum()


def tempered(logits, temperature):
    """Return the probabilities at a temperature, the largest logit subtracted first."""
    return ((logits - logits.max()) / temperature).softmax(0)


def next_distribution(logits, temperature, k, p, share):
    """The reference: the four steps in the order of the text, each on what the one before has left."""
    return fit(nucleus(largest(tempered(logits, temperature), k), p), share)


next_distribution = Exercise(next_distribution, settings, run=compared)


@next_distribution.mistake(
    "the token that reaches p cut off",
    "Your top-p keeps one token too few, and none where the first exceeds p: the sum of which tokens decides about a token?",
)
def _(logits, temperature, k, p, share):
    probs = largest(tempered(logits, temperature), k)
    if p < 1:
        ordered, where = probs.sort(descending=True)
        probs = probs.scatter(0, where, ordered.masked_fill(ordered.cumsum(0) > p, 0.0))
    return fit(probs / probs.sum(), share)


@next_distribution.mistake(
    "the token that reaches p cut off, unless it is the first",
    "The first token is saved, and the others still lose the one that reaches p: with 0.4 and 0.3, how many does p = 0.6 need?",
)
def _(logits, temperature, k, p, share):
    probs = largest(tempered(logits, temperature), k)
    if p < 1:
        ordered, where = probs.sort(descending=True)
        cut = ordered.cumsum(0) > p
        cut[0] = False
        probs = probs.scatter(0, where, ordered.masked_fill(cut, 0.0))
    return fit(probs / probs.sum(), share)


@next_distribution.mistake(
    "a k beyond the vocabulary not switched off",
    "topk cannot return more than there are. What does the docstring say about such a k?",
)
def _(logits, temperature, k, p, share):
    probs = tempered(logits, temperature)
    kept, where = probs.topk(k)
    return fit(nucleus(torch.zeros_like(probs).scatter(0, where, kept / kept.sum()), p), share)


@next_distribution.mistake(
    "one token kept after p is reached",
    "With four equal tokens and p = 0.5, two reach p. Does your third come because the sum before it must exceed p?",
)
def _(logits, temperature, k, p, share):
    probs = largest(tempered(logits, temperature), k)
    ordered, where = probs.sort(descending=True)
    if p < 1:
        probs = probs.scatter(0, where, ordered.masked_fill(ordered.cumsum(0) - ordered > p, 0.0))
    return fit(probs / probs.sum(), share)


@next_distribution.mistake(
    "a p of 1 not switched off",
    "By rounding, the sum of float32 numbers can reach 1 before the last token: what must p = 1 do with the others?",
)
def _(logits, temperature, k, p, share):
    probs = largest(tempered(logits, temperature), k)
    ordered, where = probs.sort(descending=True)
    probs = probs.scatter(0, where, ordered.masked_fill(ordered.cumsum(0) - ordered >= p, 0.0))
    return fit(probs / probs.sum(), share)


@next_distribution.mistake(
    "top-p before the temperature",
    "Your p is reached with other probabilities than those you return. Which step must have happened before top-p counts?",
)
def _(logits, temperature, k, p, share):
    kept = nucleus(largest(logits.softmax(0), k), p) > 0
    return fit(tempered(logits.masked_fill(~kept, float("-inf")), temperature), share)


@next_distribution.mistake(
    "min-p before top-p",
    "Without the tokens that min-p cuts off, p is reached sooner. In which order does the text name the two?",
)
def _(logits, temperature, k, p, share):
    return nucleus(fit(largest(tempered(logits, temperature), k), share), p)


@next_distribution.mistake(
    "ties at the edge of top-k all kept",
    "Of four equal tokens, k = 3 leaves four: all reach the third largest value. What does topk return besides values?",
)
def _(logits, temperature, k, p, share):
    last = logits.topk(min(k, len(logits))).values[-1]
    probs = tempered(logits.masked_fill(logits < last, float("-inf")), temperature)
    return fit(nucleus(probs, p), share)


@next_distribution.mistake(
    "one token more than k",
    "With k = 2 three tokens stay. Counted from zero, at which place of the sorted list does the cut begin?",
)
def _(logits, temperature, k, p, share):
    return fit(nucleus(largest(tempered(logits, temperature), k + 1), p), share)


@next_distribution.mistake(
    "min-p against the whole",
    "Your min-p compares with the share itself, and may keep none. The share of which probability does the rule speak of?",
)
def _(logits, temperature, k, p, share):
    probs = nucleus(largest(tempered(logits, temperature), k), p)
    kept = probs.masked_fill(probs < share, 0.0)
    return kept / kept.sum()


@next_distribution.mistake(
    "p counted over the tokens cut by top-k too",
    "Was top-p done before top-k, or top-k's rest not scaled? Of the tokens that top-k left, the fewest should reach p.",
)
def _(logits, temperature, k, p, share):
    probs = tempered(logits, temperature)
    kept, where = probs.topk(min(k, len(probs)))
    return fit(nucleus(torch.zeros_like(probs).scatter(0, where, kept), p), share)


@next_distribution.mistake(
    "not scaled after the last cut", "Where min-p has cut something off, your probabilities sum to less than one: add them up."
)
def _(logits, temperature, k, p, share):
    probs = nucleus(largest(tempered(logits, temperature), k), p)
    return probs.masked_fill(probs < share * probs.max(), 0.0)


@next_distribution.mistake(
    "multiplied by the temperature",
    "At 0.5 the strong tokens should grow stronger, and yours grow weaker: what does T do to a logit?",
)
def _(logits, temperature, k, p, share):
    return fit(nucleus(largest((logits * temperature).softmax(0), k), p), share)


@next_distribution.mistake(
    "temperature on probabilities",
    "No temperature changes your result: scaling to sum to one undoes the division. What is divided by T?",
)
def _(logits, temperature, k, p, share):
    probs = logits.softmax(0) / temperature
    return fit(nucleus(largest(probs / probs.sum(), k), p), share)


@next_distribution.mistake(
    "the largest logit not subtracted",
    "At a tiny temperature a logit becomes infinite, and ∞ − ∞ is no number. What may be taken from all logits before?",
)
def _(logits, temperature, k, p, share):
    return fit(nucleus(largest((logits / temperature).softmax(0), k), p), share)


@next_distribution.mistake(
    "left in the order of size",
    "Your numbers are right and stand in falling order. Each belongs to its token: where did sort or topk take it from?",
)
def _(logits, temperature, k, p, share):
    return next_distribution.reference(logits, temperature, k, p, share).sort(descending=True).values


EXERCISES = [next_distribution, attend_with_cache, generate_by_halves, topic_bits, beam_search]

"""The checks of notebook 02, "Exercises": the causal mask as a step of its own."""

import math

import torch

from helpers.attention import causal_mask
from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch

NO_TRIANGLE = "it builds the mask with triu or tril; here it comes from a comparison of two torch.arange"


def tables():
    """Return cases of scores: square, with leading dimensions, more keys than queries, one query, large, a large future."""
    future = normal(4, 4, seed=8)
    future[0, 3] = 300.0
    return [
        ("four queries, four keys", (normal(4, 4, seed=0),)),
        ("equal scores", (torch.zeros(3, 3),)),
        ("two heads", (normal(2, 4, 4, seed=1),)),
        ("all dimensions of size 3", (normal(3, 3, 3, 3, seed=2),)),
        ("more keys than queries", (normal(3, 5, seed=3),)),
        ("more keys than queries, in a batch with heads", (normal(2, 3, 2, 7, seed=4),)),
        ("one query, six keys", (normal(1, 2, 1, 6, seed=5),)),
        ("one query, one key", (normal(1, 1, seed=6),)),
        ("scores of several hundred", (300 * normal(2, 5, 5, seed=7),)),
        ("a future score of 300", (future,)),
    ]


def without_triangles(function, scores):
    """Call the function, without triu and tril."""
    with Watch(dict.fromkeys(("triu", "tril", "triu_indices", "tril_indices"), NO_TRIANGLE)):
        return function(scores)


def causal_softmax(scores):
    """The reference: -inf on the scores of keys that come after the query, then the softmax over the keys."""
    T, S = scores.shape[-2:]
    hidden = torch.arange(S) > torch.arange(S - T, S)[:, None]  # (T, S)
    return scores.masked_fill(hidden, -math.inf).softmax(-1)


causal_softmax = Exercise(causal_softmax, tables, run=without_triangles)


def masked(scores, compare, first=None):
    """Return scores with -inf where compare(key, query) says so; the queries are the last, or begin at `first`."""
    T, S = scores.shape[-2:]
    first = S - T if first is None else first
    return scores.masked_fill(compare(torch.arange(S), torch.arange(first, first + T)[:, None]), -math.inf)


@causal_softmax.mistake("no mask", "There is weight above the diagonal: the first query should see one key only.")
def _(scores):
    return scores.softmax(-1)


@causal_softmax.mistake(
    "softmax over the queries", "Each column of your weights sums to one; each row should: over which dimension is the softmax?"
)
def _(scores):
    return masked(scores, torch.gt).softmax(-2)


@causal_softmax.mistake(
    "softmax over dimension 1",
    "Right without leading dimensions. With two in front, which dimension are the keys in? Count from the end.",
)
def _(scores):
    return masked(scores, torch.gt).softmax(1)


@causal_softmax.mistake(
    "the past hidden", "The first query sees all keys, the last one only itself: which side of the comparison is the future?"
)
def _(scores):
    return masked(scores, torch.lt).softmax(-1)


@causal_softmax.mistake(
    "the token itself hidden", "The first query has nothing left to see, which gives NaN: may a token look at itself?"
)
def _(scores):
    return masked(scores, torch.ge).softmax(-1)


@causal_softmax.mistake(
    "one future key left visible", "Each query sees one key too many: at which key does the future of query t begin?"
)
def _(scores):
    return masked(scores, lambda key, query: key > query + 1).softmax(-1)


@causal_softmax.mistake(
    "zeroed after the softmax",
    "The future is zero, but the rows do not sum to one: it still stands in the denominators. What must come first?",
)
def _(scores):
    return torch.where(masked(scores, torch.gt).isinf(), 0, scores.softmax(-1))


@causal_softmax.mistake(
    "zeroed after the softmax, then divided by the row's sum",
    "Right, until a future score is very large: then the past is rounded to 0, and 0/0 is NaN. What if it were hidden earlier?",
)
def _(scores):
    weights = torch.where(masked(scores, torch.gt).isinf(), 0, scores.softmax(-1))
    return weights / weights.sum(-1, keepdim=True)


@causal_softmax.mistake(
    "hidden scores set to zero", "The future still gets weight, because exp(0) is 1: which score has the power 0?"
)
def _(scores):
    return torch.where(masked(scores, torch.gt).isinf(), 0, scores).softmax(-1)


@causal_softmax.mistake(
    "a 0/1 mask added", "One more for the past only favours it: which number, added to a score, leaves a weight of 0?"
)
def _(scores):
    return (scores + masked(scores, torch.gt).isfinite()).softmax(-1)


@causal_softmax.mistake(
    "queries taken for the first positions",
    "Right where there are as many queries as keys. With more keys, at which position does the first query stand?",
)
def _(scores):
    return masked(scores, torch.gt, first=0).softmax(-1)


@causal_softmax.mistake(
    "triu or tril",
    "Where do the queries stand, and where the keys? Two torch.arange, one as a column, one as a row, can be compared.",
)
def _(scores):
    return (scores + causal_mask(*scores.shape[-2:])).softmax(-1)

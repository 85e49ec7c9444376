"""The check of notebook 06 on the most probable continuations: beam_search."""

import torch

from helpers.checks.generation_topics import parts, small_model
from helpers.checks.generation_window import ids
from helpers.checks.marker import Exercise
from helpers.generation import KVCache


def searches():
    """Return cases of a model, a prompt, n and width: greedy, one step, all tokens, up to the context, tiny probabilities."""
    model = small_model(1, vocab_size=12, context=16)
    deep = small_model(6, vocab_size=30, context=12, n_layers=2)
    flat = small_model(46, std=0.2, vocab_size=3000, context=20)
    return [
        ("three texts of five new tokens", (model, ids(4, 0, 12), 5, 3)),
        ("a width of one", (model, ids(3, 1, 12), 6, 1)),
        ("one new token", (model, ids(4, 2, 12), 1, 4)),
        ("a prompt of one token", (model, ids(1, 3, 12), 4, 2)),
        ("as wide as the vocabulary", (model, ids(2, 4, 12), 3, 12)),
        ("up to the end of the context", (model, ids(9, 5, 12), 7, 4)),
        ("two layers, eight texts", (deep, ids(4, 6, 30), 8, 8)),
        ("17 tokens, none as probable as one in a thousand", (flat, ids(2, 7, 3000), 17, 2)),
    ]


def named(function, model, idx, n, width):
    """Return the texts and their logarithms of probability, each by its name."""
    made = parts(function(model, idx, n, width), "texts", "log_probs")
    if isinstance(made["log_probs"], torch.Tensor) and made["log_probs"].is_floating_point():
        made["log_probs"] = made["log_probs"].float()
    return made


@torch.no_grad()
def anew(model, idx, n, width):
    """The search without a cache, nothing saved: the slow and safe way."""
    texts, log_probs = idx, torch.zeros(1)
    for _ in range(n):
        grown = log_probs[:, None] + model(texts)[:, -1].log_softmax(-1)  # (width, V)
        log_probs, place = grown.flatten().topk(width)
        texts = torch.cat((texts[place // grown.size(1)], place[:, None] % grown.size(1)), dim=1)
    return texts, log_probs


def beam_search(model, idx, n, width):
    """The reference: all texts computed anew at each step; the best of all extensions stay."""
    return anew(model, idx, n, width)


beam_search = Exercise(beam_search, searches, run=named)


def prefilled(model, idx, width):
    """Return the first step: texts, log probabilities, and a cache with `width` rows of the prompt."""
    cache = KVCache(model, width)
    log_probs = model.head(model.hidden(idx.expand(width, -1), cache)[:1, -1]).log_softmax(-1)  # (1, V)
    log_probs, tokens = log_probs[0].topk(width)
    return torch.cat((idx.expand(width, -1), tokens[:, None]), dim=1), log_probs, cache


@torch.no_grad()
def cached(model, idx, n, width, order):
    """The search with a cache; order(cache, rows) puts its rows in the order of the texts that survived."""
    texts, log_probs, cache = prefilled(model, idx, width)
    for _ in range(n - 1):
        grown = log_probs[:, None] + model.head(model.hidden(texts[:, -1:], cache)[:, -1]).log_softmax(-1)
        log_probs, place = grown.flatten().topk(width)
        rows = place // grown.size(1)
        order(cache, rows)
        texts = torch.cat((texts[rows], place[:, None] % grown.size(1)), dim=1)
    return texts, log_probs


@beam_search.mistake(
    "the cache not put in order",
    "Right for two tokens, or for one text. Later a text reads another one's keys: whose rows does the cache hold?",
)
def _(model, idx, n, width):
    return cached(model, idx, n, width, lambda cache, rows: None)


@beam_search.mistake(
    "the keys put in order, the values not",
    "A row of the cache now has the keys of one text and the values of another: what else must move?",
)
def _(model, idx, n, width):
    def keys_only(cache, rows):
        for layer in cache.layers:
            layer.k = layer.k[rows]

    return cached(model, idx, n, width, keys_only)


@beam_search.mistake(
    "the first layer of the cache put in order", "Right for models of one layer: how many layers have a cache?"
)
def _(model, idx, n, width):
    def first_only(cache, rows):
        layer = cache.layers[0]
        layer.k, layer.v = layer.k[rows], layer.v[rows]

    return cached(model, idx, n, width, first_only)


@beam_search.mistake(
    "probabilities multiplied",
    "Right for short texts. A long product becomes 0 in float32, and its logarithm -inf: what can be added instead?",
)
@torch.no_grad()
def _(model, idx, n, width):
    texts, probs = idx, torch.ones(1)
    for _ in range(n):
        grown = probs[:, None] * model(texts)[:, -1].softmax(-1)
        probs, place = grown.flatten().topk(width)
        texts = torch.cat((texts[place // grown.size(1)], place[:, None] % grown.size(1)), dim=1)
    return texts, probs.log()


@beam_search.mistake(
    "logits added", "Your sums are no logarithms of probabilities: what makes one row of logits comparable with another?"
)
@torch.no_grad()
def _(model, idx, n, width):
    texts, scores = idx, torch.zeros(1)
    for _ in range(n):
        grown = scores[:, None] + model(texts)[:, -1]
        scores, place = grown.flatten().topk(width)
        texts = torch.cat((texts[place // grown.size(1)], place[:, None] % grown.size(1)), dim=1)
    return texts, scores


@beam_search.mistake(
    "the best of each text only",
    "Each text has one successor. Two extensions of one may both beat those of another: among how many is the choice?",
)
@torch.no_grad()
def _(model, idx, n, width):
    texts, log_probs, _ = prefilled(model, idx, width)
    for _ in range(n - 1):
        best, tokens = model(texts)[:, -1].log_softmax(-1).max(-1, keepdim=True)
        log_probs, texts = log_probs + best[:, 0], torch.cat((texts, tokens), dim=1)
    order = log_probs.argsort(descending=True)
    return texts[order], log_probs[order]


@beam_search.mistake(
    "all texts started alike",
    "Your texts are copies of one: equal rows have equal best tokens. From how many rows may the first step choose?",
)
@torch.no_grad()
def _(model, idx, n, width):
    texts, log_probs = idx.repeat(width, 1), torch.zeros(width)
    for _ in range(n):
        grown = log_probs[:, None] + model(texts)[:, -1].log_softmax(-1)
        log_probs, place = grown.flatten().topk(width)
        texts = torch.cat((texts[place // grown.size(1)], place[:, None] % grown.size(1)), dim=1)
    return texts, log_probs


@beam_search.mistake(
    "only the last token's probability",
    "Your log_probs are those of the last token: the text before it has a probability too. What is added up?",
)
@torch.no_grad()
def _(model, idx, n, width):
    texts = idx
    for _ in range(n):
        grown = model(texts)[:, -1].log_softmax(-1)
        log_probs, place = grown.flatten().topk(width)
        texts = torch.cat((texts[place // grown.size(1)], place[:, None] % grown.size(1)), dim=1)
    return texts, log_probs


@beam_search.mistake(
    "new tokens on the wrong texts",
    "A token extends the text from whose row it was chosen. Are the texts in that order when it is appended?",
)
@torch.no_grad()
def _(model, idx, n, width):
    texts, log_probs, _ = prefilled(model, idx, width)
    for _ in range(n - 1):
        grown = log_probs[:, None] + model(texts)[:, -1].log_softmax(-1)
        log_probs, place = grown.flatten().topk(width)
        texts = torch.cat((texts, place[:, None] % grown.size(1)), dim=1)
    return texts, log_probs


@beam_search.mistake("only the new tokens returned", "Your texts begin after the prompt: what does the docstring say about it?")
def _(model, idx, n, width):
    texts, log_probs = anew(model, idx, n, width)
    return texts[:, idx.size(1) :], log_probs


@beam_search.mistake(
    "the mean instead of the sum", "Your log_probs are those of one token on average: which number does the docstring ask for?"
)
def _(model, idx, n, width):
    texts, log_probs = anew(model, idx, n, width)
    return texts, log_probs / n

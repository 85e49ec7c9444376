"""The check of notebook 06 on text past the context: generate_by_halves."""

import torch

from helpers.checks.generation_topics import small_model
from helpers.checks.marker import Exercise
from helpers.checks.watch import NotAllowed
from helpers.generation import KVCache


def ids(n, seed=0, vocab_size=40):
    """Return (1, n) random tokens."""
    return torch.randint(vocab_size, (1, n), generator=torch.Generator().manual_seed(seed))


def texts():
    """Return cases of a model, a prompt and a number: inside the context, at its end, past it, long prompts, odd contexts."""
    even, odd = (small_model(seed, vocab_size=40, context=context).double() for seed, context in ((46, 8), (38, 7)))
    deep = small_model(23, vocab_size=40, context=6, n_layers=2).double()
    two = small_model(52, vocab_size=40, context=2).double()
    return [
        ("inside the context of 8", (even, ids(3), 4)),
        ("one drop", (even, ids(5), 6)),
        ("two drops", (even, ids(3, seed=1), 12)),
        ("a prompt of exactly the context", (even, ids(8, seed=2), 3)),
        ("a prompt longer than the context", (even, ids(13, seed=3), 6)),
        ("the last token fills the window", (even, ids(3), 6)),
        ("a context of 7", (odd, ids(4, seed=4), 9)),
        ("two layers, a context of 6", (deep, ids(9, seed=5), 6)),
        ("a context of 2", (two, ids(1, seed=6), 6)),
        ("no new token", (even, ids(3), 0)),
        ("gradients switched on", (even, ids(6, seed=7), 3, True)),
    ]


def followed(function, model, idx, n, gradients=False):
    """Return how many tokens went through the model in each step, and the text; kept gradients are refused."""
    hidden, steps = model.hidden, []

    def counted(tokens, *cache, **named):
        steps.append(tokens.size(1))
        result = hidden(tokens, *cache, **named)
        if result.requires_grad:
            raise NotAllowed("gradients are switched on in this case, and are kept here")
        return result

    model.hidden = counted
    try:
        with torch.set_grad_enabled(gradients):
            text = function(model, idx, n)
    finally:
        del model.hidden
    return {"tokens run at each step": steps[:n], "text": text}


def window_loop(model, idx, n, first, full, after):
    """Append n greedy tokens: the last `first` go in at first; where the cache holds `full`, the last `after`; else one."""
    cache = None
    for _ in range(n):
        new = idx[:, -1:]
        if cache is None or len(cache) >= full:
            new, cache = idx[:, -(first if cache is None else after) :], KVCache(model)
        last = model.head(model.hidden(new, cache)[:, -1])
        idx = torch.cat((idx, last.argmax(-1, keepdim=True)), dim=1)
    return idx


@torch.no_grad()
def generate_by_halves(model, idx, n):
    """The reference: the context at first; where it is full, what stays after the drop and the new token; else one token."""
    context = model.config.context
    return window_loop(model, idx, n, context, context, context - context // 2 + 1)


generate_by_halves = Exercise(generate_by_halves, texts, run=followed)


@generate_by_halves.mistake(
    "sliding by one",
    "Past the context the whole window goes in at every step, as in window_greedy. How many tokens leave in one drop?",
)
@torch.no_grad()
def _(model, idx, n):
    return window_loop(model, idx, n, *3 * [model.config.context])


@generate_by_halves.mistake(
    "no cheap steps",
    "The text is right, and all of the window goes in at every step: which tokens have their keys in the cache?",
)
@torch.no_grad()
def _(model, idx, n):
    context, window = model.config.context, idx[:, -model.config.context :]
    for _ in range(n):
        new = model.head(model.hidden(window)[:, -1]).argmax(-1, keepdim=True)
        idx = torch.cat((idx, new), dim=1)
        window = torch.cat((window[:, context // 2 :] if window.size(1) == context else window, new), dim=1)
    return idx


@generate_by_halves.mistake(
    "half of the cache kept",
    "The text differs after the first drop: those keys were made at other positions (section 6.5). What can be kept of them?",
)
@torch.no_grad()
def _(model, idx, n):
    context, cache, new = model.config.context, KVCache(model), idx[:, -model.config.context :]
    for _ in range(n):
        if len(cache) == context:
            for layer in cache.layers:
                layer.k, layer.v = (x.roll(-(context // 2), dims=2) for x in (layer.k, layer.v))
                layer.length = context - context // 2
        new = model.head(model.hidden(new, cache)[:, -1]).argmax(-1, keepdim=True)
        idx = torch.cat((idx, new), dim=1)
    return idx


@generate_by_halves.mistake(
    "the window never slides",
    "The position table has no row past the context: what must happen before the next token joins a full window?",
)
@torch.no_grad()
def _(model, idx, n):
    return window_loop(model, idx, n, model.config.context, float("inf"), 0)


@generate_by_halves.mistake(
    "the new token counted in the half that stays",
    "After a drop one token too few goes in. Count: what stays of the full window, and the new token besides.",
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    return window_loop(model, idx, n, context, context, context - context // 2)


@generate_by_halves.mistake(
    "the larger half dropped",
    "Right for even contexts. Of 7, how many are dropped by context // 2, and how many does that leave?",
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    return window_loop(model, idx, n, context, context, context // 2 + 1)


@generate_by_halves.mistake(
    "dropped a step too early",
    "The last place of your window is never used: how many tokens does the cache hold when the next one has no room?",
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    window, new, cache = idx[:, -context:], idx[:, -context:], KVCache(model)
    for _ in range(n):
        new = model.head(model.hidden(new, cache)[:, -1]).argmax(-1, keepdim=True)
        idx, window = torch.cat((idx, new), dim=1), torch.cat((window, new), dim=1)
        if window.size(1) >= context:
            window = new = window[:, context // 2 :]
            cache = KVCache(model)
    return idx


@generate_by_halves.mistake(
    "a long prompt not cut", "The whole prompt goes in at the first step. How much of it does the text want in the window?"
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    return window_loop(model, idx, n, idx.size(1), context, context - context // 2 + 1)


@generate_by_halves.mistake(
    "only half of a long prompt read",
    "Of a prompt that is too long, the last tokens count, as many as the context holds. A drop comes only when one more joins.",
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    first = context if idx.size(1) <= context else context - context // 2
    return window_loop(model, idx, n, first, context, context - context // 2 + 1)


@generate_by_halves.mistake(
    "only the window returned",
    "The model forgets what has left the window; the reader does not: which tokens should come back?",
)
@torch.no_grad()
def _(model, idx, n):
    context = model.config.context
    return window_loop(model, idx, n, context, context, context - context // 2 + 1)[:, -context:]


@generate_by_halves.mistake(
    "gradients kept",
    "The text is right. But where gradients are on, each step's numbers stay in memory: what has stream_tokens around them?",
)
def _(model, idx, n):
    context = model.config.context
    return window_loop(model, idx, n, context, context, context - context // 2 + 1)

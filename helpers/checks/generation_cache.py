"""The check of notebook 06 on one layer with a cache: attend_with_cache."""

import math

import torch

from helpers.attention import causal_mask
from helpers.checks.generation_topics import parts
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch

READY = {
    "scaled_dot_product_attention": "scaled_dot_product_attention is called; here its parts are written out",
    "baddbmm": "baddbmm is called, as the attention of the helpers does; here a product is written with @",
}


def tokens(B, H, T, P, D, seed, size=1.0):
    """Return q, k, v of T new tokens, and the keys and values of P old ones."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, H, T, D, generator=generator) for _ in range(3))
    return (size * q, k, v, *(torch.randn(B, H, P, D, generator=generator) for _ in range(2)))


def steps():
    """Return cases of new and old tokens: one or several of each, none old, all sizes equal, large scores, a long past."""
    return [
        ("four new tokens, nothing old", tokens(1, 1, 4, 0, 8, seed=0)),
        ("one new token, five old ones", tokens(1, 2, 1, 5, 8, seed=1)),
        ("three new tokens, four old ones", tokens(1, 1, 3, 4, 4, seed=2)),
        ("a batch of two with three heads", tokens(2, 3, 2, 6, 5, seed=3)),
        ("more new tokens than old ones", tokens(1, 2, 5, 2, 3, seed=4)),
        ("one new token, nothing old", tokens(1, 2, 1, 0, 4, seed=5)),
        ("one new token, one old one", tokens(1, 1, 1, 1, 2, seed=6)),
        ("all sizes three", tokens(3, 3, 3, 3, 3, seed=7)),
        ("scores of several hundred", tokens(1, 2, 2, 3, 4, seed=8, size=300.0)),
        ("heads of 54, a long past", tokens(1, 2, 1, 40, 54, seed=9)),
    ]


def named(function, q, k, v, old_k, old_v):
    """Return what the function returns, each part by its name; ready-made attention is refused."""
    with Watch(READY):
        return parts(function(q, k, v, old_k, old_v), "y", "all_k", "all_v")


def weighted(q, k, v, hidden=None):
    """Return the answers (B, H, T, D) to queries that see the keys and values which are not hidden: (T, S) or None."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    return (scores if hidden is None else scores.masked_fill(hidden, -math.inf)).softmax(-1) @ v


def together(k, v, old_k, old_v):
    """Return the keys and the values of all tokens, the old ones first."""
    return torch.cat((old_k, k), dim=2), torch.cat((old_v, v), dim=2)


def attend_with_cache(q, k, v, old_k, old_v):
    """The reference: old and new together, and the mask of T queries that are the last of S tokens."""
    all_k, all_v = together(k, v, old_k, old_v)  # (B, H, S, D)
    return weighted(q, all_k, all_v, causal_mask(q.size(2), all_k.size(2)) < 0), all_k, all_v


attend_with_cache = Exercise(attend_with_cache, steps, run=named)


@attend_with_cache.mistake(
    "joined along the heads",
    "Tokens are the third of the four dimensions, B, H, T, D: along which one do old and new stand in a row?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = torch.cat((old_k, k), dim=1), torch.cat((old_v, v), dim=1)
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "joined along the batch",
    "torch.cat joins along dimension 0 unless told otherwise, and that is B: along which one do tokens stand?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = torch.cat((old_k, k)), torch.cat((old_v, v))
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "joined along the features",
    "Your keys have become longer, not more: what does dimension -1 hold, and which one holds the tokens?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = torch.cat((old_k, k), dim=-1), torch.cat((old_v, v), dim=-1)
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "the new tokens before the old", "The mask takes the queries for the last tokens. In your all_k, which tokens are the last?"
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(old_k, old_v, k, v)
    return weighted(q, all_k, all_v, causal_mask(q.size(2), all_k.size(2)) < 0), all_k, all_v


@attend_with_cache.mistake(
    "no mask", "Right for a single new token. With several, the first sees the last of them: who stands in whose future?"
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    return weighted(q, all_k, all_v), all_k, all_v


@attend_with_cache.mistake(
    "a mask that begins at the first old token",
    "Your first new token sees one key, as if nothing came before it. How many keys may it see when P are old?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    T, S = q.size(2), all_k.size(2)
    return weighted(q, all_k, all_v, torch.ones(T, S).tril() == 0), all_k, all_v


@attend_with_cache.mistake(
    "a mask for the new tokens only",
    "Your mask has T columns, the scores have one for each old token too. Which second argument does causal_mask take?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(q.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "a mask too strict by one", "A token may look at itself. With one token and nothing old, what is left for yours to look at?"
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    T, S = q.size(2), all_k.size(2)
    return weighted(q, all_k, all_v, torch.ones(T, S).triu(S - T) == 1), all_k, all_v


@attend_with_cache.mistake(
    "a mask too loose by one",
    "Each new token sees one token of its future, the last one nothing more: where does the diagonal begin?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    T, S = q.size(2), all_k.size(2)
    return weighted(q, all_k, all_v, torch.ones(T, S).triu(S - T + 2) == 1), all_k, all_v


@attend_with_cache.mistake(
    "the old tokens not looked at",
    "all_k and all_v are right, and y is as if nothing were old: which keys do your queries meet?",
)
def _(q, k, v, old_k, old_v):
    return weighted(q, k, v, causal_mask(q.size(2)) < 0), *together(k, v, old_k, old_v)


@attend_with_cache.mistake(
    "only the new keys and values returned",
    "y is right. The next step needs the keys and values of all tokens: which do you hand back?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    return weighted(q, all_k, all_v, causal_mask(q.size(2), all_k.size(2)) < 0), k, v


@attend_with_cache.mistake(
    "no mask where something is old",
    "Right for one new token, and for many at the start. Several that come later must not see each other's future either.",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    return weighted(q, all_k, all_v, None if old_k.size(2) else causal_mask(q.size(2)) < 0), all_k, all_v


@attend_with_cache.mistake(
    "the mask multiplied",
    "The mask holds 0 and -∞, and 0 · ∞ is not a number. By which operation does 0 leave a score as it is?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) * causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake("scaled by D", "The weights are too even: is it D or √D by which the spread of the scores grows?")
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    scores = q @ all_k.transpose(-2, -1) / q.size(-1) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake("no scaling", "The weights are too sharp: by what are the scores divided, and why (notebook 02)?")
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    scores = q @ all_k.transpose(-2, -1) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-1) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "softmax over the queries",
    "A single new token gives every key the weight one. Over which dimension should weights sum to one?",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    scores = q @ all_k.transpose(-2, -1) / math.sqrt(q.size(-1)) + causal_mask(q.size(2), all_k.size(2))
    return scores.softmax(-2) @ all_v, all_k, all_v


@attend_with_cache.mistake(
    "a ready-made attention called",
    "Now write out what it does: scores, mask, softmax, weighted sum. Its is_causal would not know of old tokens.",
)
def _(q, k, v, old_k, old_v):
    all_k, all_v = together(k, v, old_k, old_v)
    mask = causal_mask(q.size(2), all_k.size(2))
    return torch.nn.functional.scaled_dot_product_attention(q, all_k, all_v, attn_mask=mask), all_k, all_v

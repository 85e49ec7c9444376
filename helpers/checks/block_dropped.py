"""The known mistakes in the block of notebook 03, "Exercises": its wiring, and its dropout."""

import torch
from torch.nn import functional as F

from helpers.checks.block_wiring import pre_norm_block


def wiring_mistake(name, nudge, wrong):
    """File a mistake in the wiring, made from x, the four parts, and the right dropout."""
    pre_norm_block.mistake(name, nudge)(
        lambda x, norm1, attention, norm2, feed_forward, p, training: wrong(
            x, norm1, attention, norm2, feed_forward, lambda y: F.dropout(y, p, training)
        )
    )


def dropout_mistake(name, nudge, drop):
    """File a mistake in dropout, made from what a part returns, p and training; the wiring is right."""

    def wrong(x, norm1, attention, norm2, feed_forward, p, training):
        x = x + drop(attention(norm1(x)), p, training)
        return x + drop(feed_forward(norm2(x)), p, training)

    pre_norm_block.mistake(name, nudge)(wrong)


def kept(y, share):
    """Return a mask: one with this probability, else zero."""
    return torch.empty_like(y).bernoulli_(share)


def post_norm(x, n1, a, n2, f, drop):
    """Return the block of the first Transformer: the norms on the stream."""
    x = n1(x + drop(a(x)))
    return n2(x + drop(f(x)))


def norm_on_the_stream(x, n1, a, n2, f, drop):
    """Return the block in which x is overwritten by its norm."""
    x = n1(x)
    x = x + drop(a(x))
    x = n2(x)
    return x + drop(f(x))


def second_from_the_start(x, n1, a, n2, f, drop):
    """Return the block in which the second part's result is added to what came in."""
    middle = x + drop(a(n1(x)))
    return x + drop(f(n2(middle)))


def two_plus(x, read, also, drop=lambda y: y):
    """Return x plus what two functions make of it, one after the other."""
    x = x + drop(read(x))
    return x + drop(also(x))


wiring_mistake(
    "post-norm", "The norms stand on the stream, behind the plus sign. In which order is it norm, part, plus?", post_norm
)
wiring_mistake(
    "norms after the parts",
    "The norms stand on what the parts return. What should the parts read?",
    lambda x, n1, a, n2, f, drop: two_plus(x, lambda y: drop(n1(a(y))), lambda y: drop(n2(f(y)))),
)
wiring_mistake(
    "a norm on the stream",
    "x is overwritten by its norm, so the change is added to that: the stream itself must stay as it was.",
    norm_on_the_stream,
)
wiring_mistake(
    "no residual",
    "Each part replaces the stream. One plus sign for each part is missing.",
    lambda x, n1, a, n2, f, drop: drop(f(n2(drop(a(n1(x)))))),
)
wiring_mistake(
    "no residual around the second part",
    "Attention is added to the stream; what the feed-forward network returns is not.",
    lambda x, n1, a, n2, f, drop: drop(f(n2(x + drop(a(n1(x)))))),
)
wiring_mistake(
    "no residual around the first part",
    "The feed-forward network is added to the stream; what attention returns replaces it.",
    lambda x, n1, a, n2, f, drop: (y := drop(a(n1(x)))) + drop(f(n2(y))),
)
wiring_mistake(
    "both parts read the same stream",
    "Here both parts read x as it came in. The feed-forward network should read what attention has left.",
    lambda x, n1, a, n2, f, drop: x + drop(a(n1(x))) + drop(f(n2(x))),
)
wiring_mistake(
    "what attention added is lost",
    "The feed-forward network has read it, and then its result is added to the x that came in: which x is the stream by then?",
    second_from_the_start,
)
wiring_mistake(
    "feed-forward first",
    "The two parts stand in the wrong order: first gather, then think.",
    lambda x, n1, a, n2, f, drop: two_plus(x, lambda y: f(n2(y)), lambda y: a(n1(y)), drop),
)
wiring_mistake(
    "one norm for both",
    "norm2 is nowhere used: each part reads through its own norm.",
    lambda x, n1, a, n2, f, drop: two_plus(x, lambda y: a(n1(y)), lambda y: f(n1(y)), drop),
)
wiring_mistake("no norms", "Both parts read the bare stream.", lambda x, n1, a, n2, f, drop: two_plus(x, a, f, drop))
wiring_mistake(
    "dropout on the stream",
    "Wherever the mask is zero, x itself is gone. Dropout acts on what is added, not on the sum.",
    lambda x, n1, a, n2, f, drop: drop((y := drop(x + a(n1(x)))) + f(n2(y))),
)
wiring_mistake(
    "dropout on what the parts read",
    "The parts read a stream with holes, and what they return is added whole. It should be the other way round.",
    lambda x, n1, a, n2, f, drop: two_plus(x, lambda y: a(drop(n1(y))), lambda y: f(drop(n2(y)))),
)
wiring_mistake(
    "dropout at the end only",
    "Only the last result has holes: both parts add to the stream, and both through a dropout of their own.",
    lambda x, n1, a, n2, f, drop: (y := x + a(n1(x))) + drop(f(n2(y))),
)
wiring_mistake(
    "dropout on attention only",
    "What attention adds has holes; what the feed-forward network adds has none.",
    lambda x, n1, a, n2, f, drop: (y := x + drop(a(n1(x)))) + f(n2(y)),
)
wiring_mistake(
    "dropout on the result",
    "The whole stream has holes at the end, and what the parts add has none. Dropout stands on the branches.",
    lambda x, n1, a, n2, f, drop: drop(two_plus(x, lambda y: a(n1(y)), lambda y: f(n2(y)))),
)
dropout_mistake(
    "dropout in evaluation too",
    "With training=False the block must give its best answer, every time the same: where do you ask for training?",
    lambda y, p, training: F.dropout(y, p),
)
dropout_mistake(
    "no dropout", "Right in evaluation. In training, what the parts return must have holes.", lambda y, p, training: y
)
dropout_mistake(
    "dropout in evaluation instead of training",
    "The switch works the wrong way round: holes are for training only.",
    lambda y, p, training: F.dropout(y, p, not training),
)
dropout_mistake(
    "not scaled",
    "The share of zeros is right, but what remains must be larger, so that the expected value stays what it was.",
    lambda y, p, training: y * kept(y, 1 - p) if training else y,
)
dropout_mistake(
    "scaled by 1 - p, not divided",
    "The expected value should stay what it was: after some numbers have gone, must the others grow or shrink?",
    lambda y, p, training: y * kept(y, 1 - p) * (1 - p) if training else y,
)
dropout_mistake(
    "p taken for the share that is kept",
    "With p = 0.2 a fifth is dropped; you keep a fifth.",
    lambda y, p, training: y * kept(y, p) / p if training and p else y,
)
dropout_mistake(
    "the kept and the dropped exchanged",
    "With p = 0 nothing is left of what the parts add: is your mask one where a number is kept, or where it is dropped?",
    lambda y, p, training: y * kept(y, p) / (1 - p) if training else y,
)
dropout_mistake(
    "scaled in evaluation instead of training",
    "So it was done at first (Srivastava et al.). Here training divides what remains by 1 - p, and evaluation does nothing.",
    lambda y, p, training: y * (kept(y, 1 - p) if training else 1 - p),
)
dropout_mistake(
    "divided by p",
    "A share of 1 - p is kept: by what must it be divided, so that the expected value stays?",
    lambda y, p, training: y * kept(y, 1 - p) / p if training and p else y,
)


@pre_norm_block.mistake(
    "one mask for both parts", "Where attention loses a number, the feed-forward network loses it too: draw a mask for each."
)
def _(x, norm1, attention, norm2, feed_forward, p, training):
    mask = kept(x, 1 - p) / (1 - p) if training else 1
    x = x + attention(norm1(x)) * mask
    return x + feed_forward(norm2(x)) * mask


dropout_mistake(
    "one mask for all sequences",
    "The mask has the shape of one sequence, so all lose the same numbers. It needs the shape of what it is applied to.",
    lambda y, p, training: y * kept(y[0], 1 - p) / (1 - p) if training else y,
)
dropout_mistake(
    "whole tokens dropped",
    "A token loses everything that a part adds, or nothing: a mask has one number for each number, not for each token.",
    lambda y, p, training: y * kept(y[..., :1], 1 - p) / (1 - p) if training else y,
)

"""What simpler predictors reach on the same text, so that a loss means something (notebook 05, "Landmarks")."""

import gzip
import lzma
import math

import numpy as np


def landmarks(corpus):
    """Return the loss of three simple predictors on the validation tokens, in nats per token.

    uniform: every token equally likely. unigram: by its share of the training tokens. bigram: by what followed the token
    before it there, filled up with the unigram where that was seen too rarely.
    """
    V = corpus.tokenizer.vocab_size
    train, held_out = np.asarray(corpus.train, np.int64), np.asarray(corpus.validation, np.int64)
    counts = np.bincount(train, minlength=V)
    unigram = (counts + 1) / (counts.sum() + V)  # one more of each, so that no token is impossible
    first, second = held_out[:-1], held_out[1:]
    return {
        "uniform": math.log(V),
        "unigram": float(-np.log(unigram[second]).mean()),
        "bigram": float(-np.log(_bigram(train, counts, unigram, first, second)).mean()),
    }


def _bigram(train, counts, unigram, first, second, weight=20):
    """Return P(second | first), in which the unigram counts as much as `weight` observations."""
    V = len(counts)
    pairs, seen = np.unique(train[:-1] * V + train[1:], return_counts=True)
    wanted = first * V + second
    where = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    together = np.where(pairs[where] == wanted, seen[where], 0)
    return (together + weight * unigram[second]) / (counts[first] + weight)


def compressors(corpus):
    """Return the bits per byte that gzip and xz need for the validation text."""
    text = corpus.tokenizer.decode(corpus.validation).encode("utf-8")
    return {"gzip": 8 * len(gzip.compress(text, 9)) / len(text), "xz": 8 * len(lzma.compress(text, preset=9)) / len(text)}


def table(corpus, model_loss=None):
    """Return a table, as text, of the landmarks beside the loss of a model (nats per token) on the validation text."""
    losses = landmarks(corpus) | ({} if model_loss is None else {"this model": model_loss})
    lines = [f"{'on the validation text':<24}{'loss (nats/token)':>18}{'perplexity':>12}{'bits per byte':>15}"]
    for name, loss in losses.items():
        bits = loss / math.log(2) / corpus.bytes_per_token()
        lines.append(f"{name:<24}{loss:>18.3f}{math.exp(loss):>12,.1f}{bits:>15.3f}")
    lines += [f"{name:<24}{'':>18}{'':>12}{bits:>15.3f}" for name, bits in compressors(corpus).items()]
    return "\n".join(lines)

"""How good a trained model is: its loss on a text, and what it has by heart (notebook 06, "What the model knows")."""

import math
import re

import numpy as np

from helpers.training import evaluate


def text_loss(model, tokenizer, texts, device, batch_size=8):
    """Return the loss of a model on texts (a list of str): nats per token, perplexity, bits per byte, tokens, bytes.

    Each text ends in the tokenizer's end token. See `helpers.training.evaluate` for how they are cut into windows.
    """
    ids = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_batch(texts)]
    tokens = np.concatenate([np.array(i, np.uint16) for i in ids])
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    loss = evaluate(model, tokens, device, batch_size)
    bits = loss * len(tokens) / math.log(2) / n_bytes
    return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": bits, "tokens": len(tokens), "bytes": n_bytes}


def words(text):
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def longest_copies(passages, articles, shortest=4):
    """Return for each passage the longest run of words that also stands in one of the articles, as a string.

    Runs of fewer than `shortest` words count as none (""). articles: an iterable of str. Carlini et al. 2021 call such
    runs memorised when they are long; which ones are mere idiom, a reader must judge.
    """
    passages, where = [words(passage) for passage in passages], {}
    for p, text in enumerate(passages):
        for i in range(len(text) - shortest + 1):
            where.setdefault(tuple(text[i : i + shortest]), []).append((p, i))
    longest = [[] for _ in passages]
    for article in articles:
        text = words(article)
        for j in range(len(text) - shortest + 1):
            for p, i in where.get(tuple(text[j : j + shortest]), ()):
                n = shortest
                while i + n < len(passages[p]) and j + n < len(text) and passages[p][i + n] == text[j + n]:
                    n += 1
                longest[p] = max(longest[p], text[j : j + n], key=len)
    return [" ".join(run) for run in longest]

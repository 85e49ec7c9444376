"""The check of notebook 01 on the split by article: split_articles."""

import hashlib
import random
from collections import Counter
from contextlib import contextmanager
from unittest import mock

from helpers.checks.compare import described
from helpers.checks.marker import Exercise


@contextmanager
def other_sha256(function):
    """While it lasts, SHA-256 gives other digests, however the function's code calls it."""
    sha256, new, space = hashlib.sha256, hashlib.new, getattr(function, "__globals__", {})

    def salted(text=b"", **named):
        return sha256(b"salt" + text, **named)

    def by_name(name, *text, **named):
        return salted(*text) if name.lower().replace("-", "") == "sha256" else new(name, *text, **named)

    imported = [name for name, value in space.items() if value is sha256]
    with mock.patch("hashlib.sha256", salted), mock.patch("hashlib.new", by_name):
        space.update(dict.fromkeys(imported, salted))
        try:
            yield
        finally:
            space.update(dict.fromkeys(imported, sha256))


def other_hash(value, hash=hash):
    """Return what the built-in hash might be in the next process."""
    return hash(("the next process", value))


def findings(function, articles, share):
    """Return what is true of a split: a dictionary of statements."""
    given = list(articles)
    parts = function(articles, share)
    pair = isinstance(parts, tuple) and [type(part) for part in parts] == [list, list]
    said = {"what it returns": "a tuple of two lists" if pair else described(parts)}
    train, validation = parts if pair else ([], [])
    held = set(validation)

    def again(articles, share=share):
        return function(list(articles), share)[1] if pair else None

    said["every article is in one part, once"] = Counter(train + validation) == Counter(given)
    said["both parts keep the order of the articles"] = (train, validation) == divided(given, lambda article: article in held)
    spread = 4.5 * (len(given) * share * (1 - share)) ** 0.5
    low, high = max(0, round(len(given) * share - spread)), min(len(given), round(len(given) * share + spread))
    said["articles held out"] = f"{low} to {high}" if low <= len(validation) <= high else str(len(validation))
    said["called again, it decides the same"] = again(given) == validation
    said["in another order, the same articles are held out"] = pair and set(again(given[::-1])) == held
    alone = [article for article in given[:10] if again([article])]
    said["an article alone is decided as it is among others"] = pair and alone == [a for a in given[:10] if a in held]
    other_text = [title_of(article) + "\nOther text." for article in given]
    same = [other for article, other in zip(given, other_text, strict=True) if article in held]
    said["with another text below the title, the same are held out"] = again(other_text) == same
    more = [share + (1 - share) * part for part in (0.03, 0.2, 0.7)]
    stay = pair and all(held <= set(again(given, larger)) for larger in more)
    said["with a larger share, none of them goes back to training"] = stay
    with mock.patch("builtins.hash", other_hash):
        said["in another process (where hash of a string differs), the same are held out"] = again(given) == validation
    with other_sha256(function):
        too_few = not 0.01 < share < 0.99 or len(given) < 100
        said["the SHA-256 of the titles decides"] = pair and (too_few or again(given) != validation)
    return said


def splits():
    """Return cases of articles and a share: several shares, none and all, titles alone or twice, no articles."""
    usual = [f"Place {i}\nPlace {i} is a {kind}.\nIt is old." for i, kind in enumerate(["mountain", "city", "river"] * 500)]
    made = [(f"share {share}", (usual[:120], share)) for share in (0.1, 0.25, 0.7)]
    made += [("a small share", (usual[:1500], 0.05)), ("no share", (usual[:30], 0.0)), ("all", (usual[:30], 1.0))]
    made += [("titles without text", ([f"山 {i}" for i in range(100)], 0.3)), ("no articles", ([], 0.5))]
    twice = [f"Place {i // 2}\nText {i % 2}." for i in range(60)]
    return [*made, ("each title twice, with other texts", (twice, 0.5))]


def number_of(text):
    """Return the whole number, from 0 to 2**64 - 1, that the SHA-256 of a text makes."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


def title_of(article):
    """Return the first line of an article."""
    return article.split("\n")[0]


def divided(articles, held_out):
    """Return the articles for which held_out(article) is false, and those for which it is true."""
    parts = [], []
    for article in articles:
        parts[bool(held_out(article))].append(article)
    return parts


def split_articles(articles, share):
    """The reference: a title's hash, a number below 2**64, is compared with that share of 2**64."""
    return divided(articles, lambda article: number_of(title_of(article)) < share * 2**64)


split_articles = Exercise(split_articles, splits, run=findings)


@split_articles.mistake(
    "shuffled, then cut",
    "The decision for one article hangs on which others there are. What of the article itself could decide?",
)
def _(articles, share):
    mixed = random.Random(0).sample(articles, len(articles))
    n = round(share * len(articles))
    return mixed[n:], mixed[:n]


@split_articles.mistake(
    "the end of the list", "Who comes last is chance, or worse, the subject. What of the article could decide?"
)
def _(articles, share):
    n = round((1 - share) * len(articles))
    return articles[:n], articles[n:]


@split_articles.mistake(
    "a coin for each place",
    "The first article gets the first random number, whichever it is. Put another article first, and what happens?",
)
def _(articles, share):
    rng = random.Random(0)
    return divided(articles, lambda article: rng.random() < share)


@split_articles.mistake(
    "Python's own hash",
    "hash of a string is another number in each new process: tomorrow's validation part would hold today's training text.",
)
def _(articles, share):
    return divided(articles, lambda article: hash(title_of(article)) % 1000 < share * 1000)


@split_articles.mistake(
    "modulo one over the share",
    "A multiple of 4 need not be a multiple of 3: compare the number with a bound that grows with the share.",
)
def _(articles, share):
    every = round(1 / share)
    return divided(articles, lambda article: number_of(title_of(article)) % every == 0)


@split_articles.mistake(
    "whole tenths only",
    "With the remainder modulo 10 there are ten possible decisions. How finely can a number of 64 bits be cut?",
)
def _(articles, share):
    return divided(articles, lambda article: number_of(title_of(article)) % 10 < share * 10)


@split_articles.mistake(
    "the whole article hashed", "A comma mended in the text would move the article to the other part. What may be hashed?"
)
def _(articles, share):
    return divided(articles, lambda article: number_of(article) < share * 2**64)


@split_articles.mistake(
    "the two parts exchanged", "The training part comes first, and the share is that of the validation part."
)
def _(articles, share):
    return divided(articles, lambda article: number_of(title_of(article)) < share * 2**64)[::-1]


@split_articles.mistake(
    "the lowest hashes, exactly so many",
    "An article added tomorrow can push another one over the line. Each must be decided by its own title alone.",
)
def _(articles, share):
    lowest = set(sorted(articles, key=lambda article: number_of(title_of(article)))[: round(share * len(articles))])
    return divided(articles, lambda article: article in lowest)

"""The check of notebook 01 on the project: report."""

import random
from functools import cache

from helpers.checks.marker import Exercise
from helpers.checks.tokenizer_articles import divided
from helpers.data import is_validation
from helpers.tokenizer import train_tokenizer


def made_articles(letters, n):
    """Return articles in an invented language of two-letter syllables; some have a character that no other has."""
    rng = random.Random(len(letters))
    words = ["".join(rng.choices(letters, k=2 * rng.randint(1, 4))) for _ in range(250)]
    texts = [[" ".join(rng.choices(words[: rng.randint(20, 250)], k=10)) for _ in range(rng.randint(1, 5))] for _ in range(n)]
    return ["\n".join([f"{rng.choice(words)} {i}", *lines, *[chr(0x4E00 + i)] * (i % 3 == 0)]) for i, lines in enumerate(texts)]


def languages():
    """Return cases of texts and sizes: letters of one byte, of two, of three; one size, several, none."""
    made = [("letters of two bytes", (made_articles("αβγδεικλμνοπρστ", 120), [340, 420]))]
    made += [("letters of one byte", (made_articles("abdeiklmnoprst", 90), [330]))]
    made += [("letters of three bytes", (made_articles("कखगजटतदनपबमरलवस", 90), [330]))]
    return [*made, ("no sizes", (made[0][1][0], []))]


@cache
def trained(texts, size):
    """Return the tokenizer of these texts, trained once."""
    return train_tokenizer(texts, size)


def measured(held_out, tokenizer):
    """Return (bytes per token, characters per token, share of byte tokens) of texts."""
    ids = [i for text in held_out for i in tokenizer.encode(text)]
    n_bytes = sum(len(text.encode()) for text in held_out)
    as_bytes = sum(tokenizer.sp.is_byte(i) and i != tokenizer.newline_id for i in ids)
    return n_bytes / len(ids), sum(map(len, held_out)) / len(ids), as_bytes / len(ids)


def report(texts, vocab_sizes):
    """The reference: train on what is_validation leaves, measure on what it holds out."""
    train, held_out = divided(texts, is_validation)
    return {size: measured(held_out, trained(tuple(train), size)) for size in vocab_sizes}


def named(function, texts, vocab_sizes):
    """Return what the function reports, each number with its name."""
    measures, made = ("bytes per token", "characters per token", "share of byte tokens"), function(texts, vocab_sizes)
    if not isinstance(made, dict):
        return made
    said = {}
    for size, numbers in made.items():
        fits = isinstance(numbers, tuple) and len(numbers) == 3
        said |= (
            {f"{size!r}, {measure}": numbers[i] for i, measure in enumerate(measures)} if fits else {repr(size): repr(numbers)}
        )
    return said


report = Exercise(report, languages, run=named)


@report.mistake(
    "trained on all texts",
    "The tokenizer has seen the text on which it is measured: words of the held-out tenth have become entries.",
)
def _(texts, vocab_sizes):
    return {size: measured(divided(texts, is_validation)[1], trained(tuple(texts), size)) for size in vocab_sizes}


@report.mistake("measured on the training part", "The tokenizer was made for these very texts. Which ones has it not seen?")
def _(texts, vocab_sizes):
    train = divided(texts, is_validation)[0]
    return {size: measured(train, trained(tuple(train), size)) for size in vocab_sizes}


@report.mistake(
    "the last tenth held out",
    "Which texts come last is chance, or worse, the subject. Which function of section 1.10 decides by the title?",
)
def _(texts, vocab_sizes):
    n = len(texts) * 9 // 10
    return {size: measured(texts[n:], trained(tuple(texts[:n]), size)) for size in vocab_sizes}


@report.mistake(
    "line breaks among the byte tokens",
    "The newline token is a byte too, in every language. The task leaves it out of the byte tokens.",
)
def _(texts, vocab_sizes):
    made = {}
    for size, (n_bytes, n_characters, _) in report.reference(texts, vocab_sizes).items():
        train, held_out = divided(texts, is_validation)
        tokenizer = trained(tuple(train), size)
        ids = [i for text in held_out for i in tokenizer.encode(text)]
        made[size] = n_bytes, n_characters, sum(map(tokenizer.sp.is_byte, ids)) / len(ids)
    return made


@report.mistake(
    "the mean of each text's ratio",
    "A short text counts as much as a long one in your mean. Add up bytes and tokens first, then divide.",
)
def _(texts, vocab_sizes):
    train, held_out = divided(texts, is_validation)
    made = {}
    for size in vocab_sizes:
        each = [measured([text], trained(tuple(train), size)) for text in held_out]
        made[size] = tuple(sum(column) / len(each) for column in zip(*each, strict=True))
    return made


@report.mistake("characters counted as bytes", "len of a string counts its characters. How many bytes has α?")
def _(texts, vocab_sizes):
    return {size: (per_token, per_token, share) for size, (_, per_token, share) in report.reference(texts, vocab_sizes).items()}


@report.mistake("tokens per byte", "A better tokenizer should have the higher number: what is divided by what?")
def _(texts, vocab_sizes):
    return {size: (1 / a, 1 / b, share) for size, (a, b, share) in report.reference(texts, vocab_sizes).items()}

"""The shipped corpus keeps the form and the manner that data/README.md promises."""

import re
from collections import Counter

import pytest

from helpers.data import ENCYCLOPEDIA, is_validation, shipped_tokenizer
from helpers.tokenizer import Tokenizer, train_tokenizer

FILES = sorted(ENCYCLOPEDIA.glob("*.txt"))
ARTICLES = [a for f in FILES for a in f.read_text(encoding="utf-8").rstrip("\n").split("\n\n")]
PRINTABLE = re.compile(r"[A-Za-z0-9 .,;:'\"()\-?!\u00c0-\u017f\u1e00-\u1eff\n]*")
WORDS = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


def sentences(article):
    """Return the sentences of an article's body."""
    body = article.split("\n", 1)[1].replace("\n", " ")
    return re.split(r"(?<=[.?!])[\"')]*\s+", body.strip())


SENTENCES = [s for a in ARTICLES for s in sentences(a)]


def test_size():
    """The corpus has at least 1.2 MB and 1,500 articles in at least 35 topics."""
    assert sum(f.stat().st_size for f in FILES) >= 1_200_000
    assert len(ARTICLES) >= 1500
    assert len(FILES) >= 35


def test_titles_are_unique():
    """No two articles have the same title, whatever its case."""
    titles = Counter(a.split("\n", 1)[0].lower() for a in ARTICLES)
    assert [t for t, n in titles.items() if n > 1] == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_form_of_each_file(file):
    """Title line, two to four paragraphs, one blank line between articles, printable characters, 400 to 1,500 characters."""
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n") and "\n\n\n" not in text and "  " not in text and " \n" not in text
    for article in text.rstrip("\n").split("\n\n"):
        title, *paragraphs = article.split("\n")
        assert 2 <= len(paragraphs) <= 4, title
        assert 400 <= len(article) <= 1500, title
        assert PRINTABLE.fullmatch(article), title
        assert not title.endswith(".") and all(p[-1] in ".?!\"')" for p in paragraphs), title


def test_sentence_lengths():
    """At least 95 % of the sentences have 8 to 20 words, none more than 25."""
    lengths = [len(s.split()) for s in SENTENCES]
    assert sum(8 <= n <= 20 for n in lengths) / len(lengths) >= 0.95
    assert max(lengths) <= 25


def test_first_sentence_names_the_thing():
    """Nearly every article's first sentence holds a word of its title."""
    named = [set(WORDS.findall(a.split("\n", 1)[0].lower())) & set(WORDS.findall(sentences(a)[0].lower())) for a in ARTICLES]
    assert sum(map(bool, named)) / len(ARTICLES) >= 0.95


def test_no_sentence_repeats():
    """No sentence occurs in more than three articles."""
    assert [s for s, n in Counter(SENTENCES).items() if n > 3] == []


def test_openings_vary():
    """No four-word opening begins more than 0.5 % of the sentences."""
    openings = Counter(" ".join(s.split()[:4]) for s in SENTENCES)
    assert openings.most_common(1)[0][1] / len(SENTENCES) < 0.005


def test_no_near_duplicates():
    """No two articles share a tenth of their five-word sequences."""
    where = {}
    shared = Counter()
    sizes = []
    for i, article in enumerate(ARTICLES):
        words = [w.lower() for w in WORDS.findall(article)]
        grams = {tuple(words[k : k + 5]) for k in range(len(words) - 4)}
        sizes.append(len(grams))
        for gram in grams:
            for j in where.setdefault(gram, []):
                shared[j, i] += 1
            where[gram].append(i)
    assert [(ARTICLES[i][:30], ARTICLES[j][:30]) for (i, j), n in shared.items() if n > 0.1 * min(sizes[i], sizes[j])] == []


def test_vocabulary_recurs():
    """The 12,000 most frequent words make up at least 95 % of the text."""
    counts = Counter(w.lower() for w in WORDS.findall("\n".join(ARTICLES)))
    assert sum(n for _, n in counts.most_common(12_000)) / counts.total() >= 0.95


def test_prompt_is_at_home():
    """The words of the course's prompt occur together often enough for a small model to have met them."""
    text = "\n".join(ARTICLES)
    assert text.count("mountain in my city") >= 5
    assert len(re.findall(r"[Tt]he mountain", text)) >= 100


def test_shipped_tokenizer_is_reproducible():
    """The shipped tokenizer is, byte for byte, the one that the training articles of the corpus give."""
    shipped = Tokenizer.load(shipped_tokenizer("encyclopedia", 2048))
    assert shipped.vocab_size == 2048
    assert train_tokenizer((a for a in ARTICLES if not is_validation(a)), 2048).model_bytes == shipped.model_bytes

"""Round trips of the tokenizer on arbitrary Unicode (notebook 01, "SentencePiece")."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tokenizer import train_tokenizer

SIZE = 320
MARK = "\u2581"  # SentencePiece's own sign for a space
FIXED = settings(max_examples=400, deadline=None, derandomize=True, database=None)

anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MARK))
# Whitespace, control characters, the characters of special tokens, combining marks, joiners, emoji: where trouble lives.
awkward = st.text(st.sampled_from("ab \n\t\r\x00\x0b\x85\u00a0\u2028\u3000<>end/s0xA①ﬁＡ́̈\u200d\ufe0f🙂👩🏽山\ufeff\ufffd"))
words = st.lists(st.sampled_from(["the", "city", "The", "mountain", "house", " ", "  ", "\n", "\t", ". ", "<end>", "é"])).map(
    "".join
)
# A list, not st.text(a | b), which would draw from the union of both alphabets and hardly ever meet the few.
spoiled = st.lists(st.characters(codec="utf-8") | st.sampled_from(["\ud800", "\udc00", "\udfff", MARK, "\n", " "])).map("".join)
strings = anything | awkward | words


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request, articles_file):
    """A tokenizer of each kind, trained on short English articles."""
    return train_tokenizer([articles_file.read_text(encoding="utf-8")], SIZE, request.param)


@FIXED
@given(string=strings)
def test_any_text_comes_back(tokenizer, string):
    """Encoding and decoding give back any Unicode text; ids are in range, and none is <end> or the unknown token."""
    ids = tokenizer.encode(string)
    assert tokenizer.decode(ids) == string
    assert all(0 <= i < SIZE for i in ids)
    assert tokenizer.end_id not in ids and tokenizer.sp.unk_id() not in ids


@FIXED
@given(string=spoiled)
def test_only_surrogates_and_the_mark_are_changed(tokenizer, string):
    """Of all strings that Python can hold, only lone surrogates (to U+FFFD) and U+2581 (to a space) come back changed."""
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else " " if c == MARK else c for c in string)
    assert tokenizer.decode(tokenizer.encode(string)) == expected


@FIXED
@given(strings_=st.lists(strings, max_size=6), threads=st.sampled_from([1, 2, 3, -1]))
def test_a_batch_is_each_text_on_its_own(tokenizer, strings_, threads):
    """encode_batch gives the ids of each text by itself, and a text's ids are those of its lines with a newline between."""
    newline, encoded = tokenizer.newline_id, tokenizer.encode_batch(strings_, threads)
    assert encoded == [tokenizer.encode(string) for string in strings_]
    for string, ids in zip(strings_, encoded, strict=True):
        lines = [tokenizer.sp.encode(line) for line in string.split("\n")]
        assert ids == [i for k, line in enumerate(lines) for i in ([newline] * (k > 0) + line)]


@FIXED
@given(ids=st.lists(st.integers(0, SIZE - 1)))
def test_any_ids_can_be_decoded_and_their_text_comes_back(tokenizer, ids):
    """Any ids in range, also halves of characters, give a text; encoding that text and decoding it gives it again."""
    text = tokenizer.decode(ids)
    assert tokenizer.decode(tokenizer.encode(text)) == text

"""The checks of notebook 01, "Exercises": decode_bytes and split_digits here, the others imported."""

import re

from helpers.checks.marker import Exercise
from helpers.checks.tokenizer_articles import split_articles
from helpers.checks.tokenizer_byte_pairs import learn_byte_merges, merge_ids
from helpers.checks.tokenizer_cuts import count_cuts
from helpers.checks.tokenizer_other_language import report

HALF_MERGES = [((0xA9, 0xC3), 256), ((0xC3, 256), 257)]  # joins the end of one é with the start of the next


def encoded():
    """Return cases of ids with merges: nested merges, pieces of characters, half a character, ids that do not exist."""
    text = "the mountain in the city is in the mist"
    merges = learn_byte_merges.reference(text, 8)
    ids = list(text.encode())
    for merge in merges:
        ids = merge_ids.reference(ids, *merge)
    mountain = list("山の山".encode())
    made = [("a sentence with eight merges", (ids, merges)), ("no merges", (list(b"city"), [])), ("no ids", ([], merges))]
    made += [("characters of three bytes", (mountain, []))]
    made += [("a token with half a character", ([*b"caf", 257, 0xA9], HALF_MERGES))]
    made += [("a merge of parts of a character", ([256, 0xB1, 0x20, 256, 0xB1], [((0xE5, 0xB1), 256)]))]
    made += [("the last byte is missing", ([*mountain[:8], *b"!"], []))]
    made += [("a byte from the middle alone", ([0x61, 0x80, 0x62], []))]
    made += [("half a character at the end", ([97, 257], HALF_MERGES)), ("merges of merges", ([258, 256, 98], nested()))]
    made += [("an id that no merge makes", ([97, 259], nested())), ("an id beyond the bytes, and no merges", ([256], []))]
    return made


def nested():
    """Return three merges, each of which uses the one before: ab, abab, ababc."""
    return [((97, 98), 256), ((256, 256), 257), ((257, 99), 258)]


def decode_bytes(ids, merges):
    """The reference: the bytes of every id, joined; then, once, the text of all bytes."""
    bytes_of = {i: bytes([i]) for i in range(256)}
    for (left, right), new_id in merges:
        bytes_of[new_id] = bytes_of[left] + bytes_of[right]
    for i in ids:
        if i not in bytes_of:
            raise ValueError(f"Token id {i} is outside the vocabulary of {len(bytes_of)} tokens.")
    return b"".join(bytes_of[i] for i in ids).decode("utf-8", errors="replace")


decode_bytes = Exercise(decode_bytes, encoded)


def table(merges):
    """Return the bytes of each id."""
    bytes_of = {i: bytes([i]) for i in range(256)}
    for (left, right), new_id in merges:
        bytes_of[new_id] = bytes_of[left] + bytes_of[right]
    return bytes_of


def looked_up(ids, merges):
    """Return the bytes of all ids; ValueError for one that does not exist."""
    if unknown := set(ids) - set(table(merges)):
        raise ValueError(f"There is no token {min(unknown)}.")
    return b"".join(table(merges)[i] for i in ids)


@decode_bytes.mistake("each token decoded by itself", "One token can hold part of a character. When are its bytes complete?")
def _(ids, merges):
    return "".join(looked_up([i], merges).decode("utf-8", errors="replace") for i in ids)


@decode_bytes.mistake(
    "merges undone one level deep",
    "A merge may join ids that earlier merges made: after one step back, ids above 255 can be left.",
)
def _(ids, merges):
    pairs = {new_id: pair for pair, new_id in merges}
    return bytes(b for i in ids for b in pairs.get(i, (i,))).decode("utf-8", errors="replace")


@decode_bytes.mistake(
    "an error at half a character", "A model may stop in the middle of a character. What does the argument errors of decode do?"
)
def _(ids, merges):
    return looked_up(ids, merges).decode("utf-8")


@decode_bytes.mistake("half a character left out", "The reader should see that something was there: U+FFFD, not nothing.")
def _(ids, merges):
    return looked_up(ids, merges).decode("utf-8", errors="ignore")


@decode_bytes.mistake(
    "every byte taken for a character", "chr(233) is é, but UTF-8 writes é as two bytes: bytes become text by decoding."
)
def _(ids, merges):
    return "".join(map(chr, looked_up(ids, merges)))


@decode_bytes.mistake(
    "a KeyError for an unknown id", "A look-up in a dictionary raises KeyError. The task wants a ValueError with a sentence."
)
def _(ids, merges):
    return b"".join(table(merges)[i] for i in ids).decode("utf-8", errors="replace")


@decode_bytes.mistake(
    "unknown ids left out in silence",
    "An id that does not exist is a sign of the wrong tokenizer: the task wants an error, not a gap.",
)
def _(ids, merges):
    return b"".join(table(merges).get(i, b"") for i in ids).decode("utf-8", errors="replace")


def texts_with_digits():
    """Return cases of texts: digits beside letters, signs and spaces, several lines and spaces, other scripts, nothing."""
    texts = {"a year": "In 1652, the city's mountain", "a number with signs": "1,085 meters, or 3.14 (about)"}
    texts |= {"no digits": "The mountain in my city is", "digits beside letters": "MP3 b2b 4x4", "underscores": "x_1 = y_22"}
    texts |= {"several spaces": "  two  spaces   7", "nothing": ""}
    texts |= {"lines": "7\n\nup 12\nnew", "other scripts": "Québec 1608 山2山"}
    return [(label, (text,)) for label, text in texts.items()] + [("digits of another script", ("عام ٢٠٢٤",))]


def cut_lines(pattern, text, first="▁", lines=True):
    """Return what a pattern finds in each line of a text, spaces written as ▁."""
    parts = text.split("\n") if lines else [text]
    return [word for line in parts for word in re.findall(pattern, first + line.replace(" ", "▁"))]


def split_digits(text):
    """The reference: letters, or one digit, or other signs, each with the ▁ before it; or a ▁ alone."""
    return cut_lines(r"▁?[^\W\d_]+|▁?\d|▁?(?:[^\w▁]|_)+|▁", text)


split_digits = Exercise(split_digits, texts_with_digits)


def split_mistake(name, pattern, nudge):
    """File a wrong pattern as a known mistake."""
    split_digits.mistake(name, nudge)(lambda text: cut_lines(pattern, text))


split_mistake(
    "digits still with the signs",
    r"▁?[^\W\d_]+|▁?(?:[^\w▁]|[\d_])+|▁",
    "In split_words digits and signs are one class of characters. Take the digits out of it.",
)
split_mistake(
    "a number kept whole",
    r"▁?[^\W\d_]+|▁?\d+|▁?(?:[^\w▁]|_)+|▁",
    r"\d+ takes as many digits as follow each other. How many may one word have?",
)
split_mistake(
    "the ▁ cut off from the digit",
    r"▁?[^\W\d_]+|\d|▁?(?:[^\w▁]|_)+|▁",
    "Before a digit the ▁ belongs to that digit, as it belongs to a letter.",
)
split_mistake(
    "English letters only",
    r"▁?[A-Za-z]+|▁?\d|▁?[^A-Za-z\d▁]+|▁",
    "é and 山 are letters too, and [A-Za-z] has neither. How does split_words say letter?",
)
split_mistake(
    "the underscore lost",
    r"▁?[^\W\d_]+|▁?\d|▁?[^\w▁]+|▁",
    r"\w counts _ among the letters, so [^\w▁] leaves it out. Join your words: is every character there?",
)
split_mistake(
    "one of several spaces lost",
    r"▁?[^\W\d_]+|▁?\d|▁?(?:[^\w▁]|_)+",
    "Of two spaces the second goes with the word that follows. Which part of your pattern takes the first?",
)


@split_digits.mistake(
    "no ▁ at the start of the line",
    "A word looks the same at the start of a line and inside it: what does split_words put before each line?",
)
def _(text):
    return cut_lines(r"▁?[^\W\d_]+|▁?\d|▁?(?:[^\w▁]|_)+|▁", text, first="")


@split_digits.mistake("the line break in a word", "Lines are cut one by one. Is there a line break in one of your words?")
def _(text):
    return cut_lines(r"▁?[^\W\d_]+|▁?\d|▁?(?:[^\w▁]|_)+|▁", text, lines=False)


EXERCISES = [merge_ids, learn_byte_merges, decode_bytes, split_digits, count_cuts, split_articles, report]

"""The checks of notebook 01 on learning merges: merge_ids, learn_byte_merges."""

import random
from collections import Counter
from itertools import pairwise

from helpers.checks.marker import Exercise


def id_lists():
    """Return cases of ids with a pair: usual ones, runs of one id, the pair at both ends or nowhere, ids of several digits."""
    made = [("the pair once", ([104, 105, 33], (105, 33), 256)), ("no ids", ([], (1, 2), 256))]
    made += [(f"{n} ids", (random.Random(n).choices((7, 8, 9), k=n), (7, 8), 256)) for n in (8, 40)]
    made += [(f"{n} times the same id", ([7] * n, (7, 7), 256)) for n in (3, 4, 5)]
    made += [("runs of one id", (random.Random(1).choices((7, 7, 7, 8), k=60), (7, 7), 300))]
    made += [("the pair at both ends", ([1, 2, 5, 6, 1, 2], (1, 2), 256)), ("only the pair", ([1, 2], (1, 2), 256))]
    made += [("the pair the other way round", ([2, 1, 1, 3], (1, 2), 256)), ("one id", ([1], (1, 1), 256))]
    made += [("ids of several digits", ([11, 2, 1, 25, 1, 2, 301, 22], (1, 2), 256))]
    return [*made, ("ids of earlier merges", ([256, 256, 257, 256, 257], (256, 257), 258))]


def new_list(function, ids, pair, new_id):
    """Return what the function returns; a text instead, if that is not a new list but the one that was given."""
    merged = function(ids, pair, new_id)
    return f"the very list that was given, now {merged}" if merged is ids else merged


def merge_ids(ids, pair, new_id):
    """The reference: walk from left to right; where the pair stands, write the new id and jump over both."""
    merged, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == pair
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


merge_ids = Exercise(merge_ids, id_lists, run=new_list)


@merge_ids.mistake("the second of the pair kept", "After the new id the walk must go on behind the pair: how far is that?")
def _(ids, pair, new_id):
    merged = []
    for i in range(len(ids)):
        merged.append(new_id if tuple(ids[i : i + 2]) == pair else ids[i])
    return merged


@merge_ids.mistake("the last id lost", "What happens to an id that has no right neighbour, and is not part of a pair?")
def _(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        found = (ids[i], ids[i + 1]) == pair
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


@merge_ids.mistake(
    "one id for each two neighbours", "After 256 the walk goes on behind the pair; and the last id has no right neighbour."
)
def _(ids, pair, new_id):
    return [new_id if both == pair else both[0] for both in pairwise(ids)]


@merge_ids.mistake("a position used twice", "In 7 7 7 the middle id cannot be in two pairs at once.")
def _(ids, pair, new_id):
    merged = list(ids[:1])
    for a, b in pairwise(ids):
        if (a, b) == pair:
            merged[-1] = new_id
        else:
            merged.append(b)
    return merged


@merge_ids.mistake("from right to left", "7 7 7 has two places for 7 7. Which one does a walk from the left reach first?")
def _(ids, pair, new_id):
    merged, i = list(ids), len(ids) - 2
    while i >= 0:
        if tuple(merged[i : i + 2]) == pair:
            merged[i : i + 2] = [new_id]
            i -= 1
        i -= 1
    return merged


@merge_ids.mistake("only the first occurrence", "Every place where the pair stands is merged. When does your walk stop?")
def _(ids, pair, new_id):
    for i, both in enumerate(pairwise(ids)):
        if both == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


@merge_ids.mistake(
    "a list compared with a tuple",
    "Nothing is merged at all. The pair is a tuple; is what you compare it with a tuple too? [1, 2] == (1, 2) is False.",
)
def _(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] == pair
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


@merge_ids.mistake("the given list changed", "The caller may need the list again: build a second one.")
def _(ids, pair, new_id):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
        i += 1
    return ids


@merge_ids.mistake("ids replaced as text", "As text, 1 2 also stands inside 11 2 and 1 25. Compare numbers, not their digits.")
def _(ids, pair, new_id):
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return [int(number) for number in text.split()]


def texts_to_learn_from():
    """Return cases of a text with a number of merges: usual, ties, runs, other scripts, too few pairs, nothing."""
    made = [("three words", ("low lower lowest", 4)), ("a sentence", ("the mountain in the city is in the mist", 12))]
    made += [
        ("ties", ("dcba cb", 5)),
        ("runs of one letter", ("aaaaabaaa", 4)),
        ("a pair that occurs once is learned too", ("abcd", 2)),
    ]
    made += [
        ("other scripts", ("山は古い山、山 été", 6)),
        ("one character of two bytes", ("é", 3)),
        ("more merges than pairs", ("abab", 9)),
    ]
    made += [
        ("no text", ("", 3)),
        ("one byte", ("a", 1)),
        ("no merges", ("abab", 0)),
        ("across words and lines", ("a b\na b\na b\n", 3)),
    ]
    random_text = "".join(random.Random(2).choices("abc ", k=150))
    return [*made, ("150 random letters", (random_text, 15))]


def most_frequent(counts):
    """Return the most frequent pair, of equals the smaller."""
    return min(counts, key=lambda pair: (-counts[pair], pair))


def learn_byte_merges(text, n_merges):
    """The reference: count all pairs of neighbours, take the most frequent, merge it, and count again."""
    return learned(text.encode("utf-8"), n_merges)


def learned(ids, n_merges, choose=most_frequent, least=1):
    """Return the merges of ids; for mistakes, with another choice, or only of pairs that occur often enough."""
    merges = []
    for new_id in range(256, 256 + n_merges):
        counts = Counter(pairwise(ids))
        if not counts or max(counts.values()) < least:
            break
        merges.append((choose(counts), new_id))
        ids = merge_ids.reference(ids, *merges[-1])
    return merges


class Written(str):
    """A value as Python writes it: compared as text, and shown without quotes."""

    __repr__ = str.__str__


def merge_by_merge(function, text, n_merges):
    """Return the list of merges, each as Python writes it, so that one that differs is shown as a whole."""
    merges = function(text, n_merges)
    return [Written(repr(merge)) for merge in merges] if isinstance(merges, list) else merges


learn_byte_merges = Exercise(learn_byte_merges, texts_to_learn_from, run=merge_by_merge)


@learn_byte_merges.mistake("characters instead of bytes", "The code point of 山 is 23665. Which method gives the bytes?")
def _(text, n_merges):
    return learned([ord(character) for character in text], n_merges)


@learn_byte_merges.mistake(
    "among equals the first seen", "most_common and max keep the order of the text. What does the task want?"
)
def _(text, n_merges):
    return learned(text.encode(), n_merges, lambda counts: max(counts, key=counts.get))


@learn_byte_merges.mistake(
    "among equals the larger pair",
    "max by (count, pair) prefers the larger of equals; we want the smaller. How can both wishes stand in one key?",
)
def _(text, n_merges):
    return learned(text.encode(), n_merges, lambda counts: max(counts, key=lambda pair: (counts[pair], pair)))


@learn_byte_merges.mistake("ids after the largest in the text", "Ids below 256 are bytes, whether they occur or not.")
def _(text, n_merges):
    ids, merges = list(text.encode()), []
    while len(merges) < n_merges and len(ids) > 1:
        merges.append((most_frequent(Counter(pairwise(ids))), max(ids) + 1))
        ids = merge_ids.reference(ids, *merges[-1])
    return merges


@learn_byte_merges.mistake("pairs counted only once", "Pairs with a new id can be frequent too. When must you count again?")
def _(text, n_merges):
    counts = Counter(pairwise(text.encode()))
    ranked = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return [(pair, 256 + i) for i, pair in enumerate(ranked[:n_merges])]


@learn_byte_merges.mistake("pairs that occur once left out", "We stop when no pair is left, not when the best occurs once.")
def _(text, n_merges):
    return learned(text.encode(), n_merges, least=2)


@learn_byte_merges.mistake(
    "no end when no pair is left",
    "After some merges a short text is one id, and a list of one id has no pair. What does max do with nothing?",
)
def _(text, n_merges):
    ids, merges = list(text.encode()), []
    for new_id in range(256, 256 + n_merges):
        merges.append((most_frequent(Counter(pairwise(ids))), new_id))
        ids = merge_ids.reference(ids, *merges[-1])
    return merges


@learn_byte_merges.mistake(
    "words kept apart", "The text is one sequence: a space is a byte like any other, and has neighbours."
)
def _(text, n_merges):
    words, merges = [list(word.encode()) for word in text.split()], []
    for new_id in range(256, 256 + n_merges):
        counts = Counter(pair for ids in words for pair in pairwise(ids))
        if not counts:
            break
        merges.append((most_frequent(counts), new_id))
        words = [merge_ids.reference(ids, *merges[-1]) for ids in words]
    return merges

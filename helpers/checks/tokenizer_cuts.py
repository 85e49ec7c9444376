"""The check of notebook 01 on the number of cuts of a word: count_cuts."""

from functools import cache

from helpers.checks.marker import Exercise


class Word(str):
    """A word that counts how often it or a part of it is cut, and stops at a limit: to try all cuts takes far too many."""

    steps = None

    def __getitem__(self, key):
        """Return a part, which goes on counting."""
        part = Word(super().__getitem__(key))
        part.steps = self.counted()
        return part

    def startswith(self, *arguments):
        """Tell whether a piece stands at a place."""
        self.counted()
        return super().startswith(*arguments)

    def counted(self, limit=20_000):
        """Count one look at a part of the word."""
        self.steps = self.steps or [0]
        self.steps[0] += 1
        if self.steps[0] > limit:
            raise TimeoutError(f"your function has taken more than {limit:,} parts of the word, which has 465")
        return self.steps


def words_to_cut():
    """Return cases of a word and a vocabulary: usual ones, no way, the longest piece wrong, a long word, nothing."""
    long = {"a", "aa"}
    made = [("a word", ("mountain", {"m", "mount", "moun", "ount", "t", "ain", "a", "in", "tain"}))]
    made += [("every letter an entry", ("city", {*"city", "it", "ty", "cit", "ity"}))]
    made += [("one way only", ("abc", {"a", "b", "c"}))]
    made += [("no way to the end", ("mist", {"m", "i", "s", "mi"})), ("a gap in the middle", ("mist", {"m", "i", "t", "mi"}))]
    made += [("the longest piece leads nowhere", ("abc", {"ab", "a", "bc"})), ("the word itself", ("city", {"city"}))]
    made += [("a piece used twice", ("mama", {"ma", "m", "a"})), ("nothing in the vocabulary", ("my", set()))]
    return [*made, ("the empty word", ("", {"a"})), ("thirty letters", (Word("a" * 30), long))]


def count_cuts(word, vocabulary):
    """The reference: the ways to each place are the sum of the ways to every place from which one piece leads there."""
    ways = [1] + [0] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            if word[start:end] in vocabulary:
                ways[end] += ways[start]
    return ways[-1]


count_cuts = Exercise(count_cuts, words_to_cut)


def table_of_ways(word, vocabulary, first, rest, step):
    """Return the last entry of the reference's table with another start and another step."""
    ways = [first] + [rest] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            if word[start:end] in vocabulary:
                ways[end] = step(ways[end], ways[start])
    return ways[-1]


@count_cuts.mistake("no way to begin with", "0 plus 0 stays 0. In how many ways can the first no letters be cut?")
def _(word, vocabulary):
    return table_of_ways(word, vocabulary, 0, 0, lambda here, before: here + before)


@count_cuts.mistake(
    "one way to every place from the start",
    "Before you have found a piece that ends at a place, no way leads there. With how many ways does each place begin?",
)
def _(word, vocabulary):
    return table_of_ways(word, vocabulary, 1, 1, lambda here, before: here + before)


@count_cuts.mistake(
    "the last pieces counted, not the ways",
    "Each last piece can follow every way to its start. By how much does the number of ways grow?",
)
def _(word, vocabulary):
    return table_of_ways(word, vocabulary, 1, 0, lambda here, before: here + 1)


@count_cuts.mistake(
    "pieces counted wherever they stand",
    "A piece in the middle is part of a cut only if pieces lead up to it, and on to the end.",
)
def _(word, vocabulary):
    places = range(len(word) + 1)
    return sum(word[start:end] in vocabulary for end in places for start in range(end))


@count_cuts.mistake(
    "the place behind the last letter forgotten",
    "A word of four letters has five places: before each letter, and behind the last.",
)
def _(word, vocabulary):
    ways = [1] + [0] * (len(word) - 1)
    for end in range(1, len(word)):
        for start in range(end):
            if word[start:end] in vocabulary:
                ways[end] += ways[start]
    return ways[-1]


@count_cuts.mistake(
    "the maximum instead of the sum", "best_cut compares, since it looks for one cut. What do you do with all of them?"
)
def _(word, vocabulary):
    return table_of_ways(word, vocabulary, 1, 0, max)


@count_cuts.mistake(
    "one greedy cut", "You always take the longest piece that fits. Every piece that fits begins a cut of its own."
)
def _(word, vocabulary):
    start = 0
    while start < len(word):
        end = next((end for end in range(len(word), start, -1) if word[start:end] in vocabulary), None)
        if end is None:
            return 0
        start = end
    return 1


@count_cuts.mistake(
    "every cut tried one by one",
    "The same rest of the word is cut again for each way to reach it. Remember the result of each rest, or fill a table.",
)
def _(word, vocabulary):
    def cuts(rest):
        return sum(cuts(rest[end:]) for end in range(1, len(rest) + 1) if rest[:end] in vocabulary) if rest else 1

    return cuts(word)


@count_cuts.mistake(
    "no way for the empty word", "A text of no letters is the sequence of no pieces: that is one way, not none."
)
def _(word, vocabulary):
    @cache
    def cuts(start):
        if start == len(word):
            return 1
        return sum(cuts(end) for end in range(start + 1, len(word) + 1) if word[start:end] in vocabulary)

    return cuts(0) if word else 0

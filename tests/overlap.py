"""Measures how much of the shipped corpus occurs word for word in another text (the result is stated in data/README.md).

    python tests/overlap.py TEXT [TEXT ...]     each a .txt, .txt.xz or .parquet file, such as a Wikipedia dump

Prints the share of the corpus's 10-word sequences that also occur there, and the longest shared sequence.
"""

import re
import sys

from helpers.data import read_articles, source_files

N = 10


def words(text):
    """Return the words of a text in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def main(paths):
    """Compare the shipped corpus with the articles of the given files."""
    ours = [words(article) for article in read_articles(source_files("encyclopedia"))]
    where = {}
    for a, text in enumerate(ours):
        for i in range(len(text) - N + 1):
            where.setdefault(hash(tuple(text[i : i + N])), []).append((a, i))
    shared, longest = set(), []
    for article in read_articles(paths):
        text = words(article)
        for j in range(len(text) - N + 1):
            for a, i in where.get(hash(tuple(text[j : j + N])), ()):
                shared.add((a, i))
                n = 0
                while i + n < len(ours[a]) and j + n < len(text) and ours[a][i + n] == text[j + n]:
                    n += 1
                longest.append((n, " ".join(text[j : j + n])))
    total = sum(map(len, where.values()))
    print(f"{len(shared)} of {total:,} sequences of {N} words occur there too: {len(shared) / total:.4%}")
    for n, sequence in sorted(set(longest), reverse=True)[:15]:
        print(f"{n:3} words: {sequence}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Small articles of random words, in the form of the shipped corpus."""

import random

WORDS = "the a mountain river city stone old high cold small people house water snow road bridge is has near under of".split()


def write_articles(path, n=120, seed=0):
    """Write n short articles of random words to a text file, in the form of the shipped corpus."""
    rng = random.Random(seed)

    def sentence():
        return " ".join(rng.choices(WORDS, k=rng.randint(5, 12))).capitalize() + "."

    articles = [f"Place {i}\n" + "\n".join(" ".join(sentence() for _ in range(4)) for _ in range(2)) for i in range(n)]
    path.write_text("\n\n".join(articles) + "\n", encoding="utf-8")
    return path

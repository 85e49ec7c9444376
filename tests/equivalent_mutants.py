"""Changes to the solutions that change nothing in what they return: {exercise: {change: why nothing changes}}."""

EQUIVALENT = {
    "split_articles": {
        "number < share * 2 ** 64 -> number <= share * 2 ** 64": "no title is known whose hash equals the bound exactly",
    },
}

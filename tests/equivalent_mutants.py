"""Changes to the solutions that change nothing in what they return: {exercise: {change: why nothing changes}}."""

EQUIVALENT = {
    "split_articles": {
        "number < share * 2 ** 64 -> number <= share * 2 ** 64": "no title is known whose hash equals the bound exactly",
    },
    "three_numbers": {"True -> False": "strict, in zip: the lists are of one length"},
    "warmup_stable_decay": {
        "step < total - decay -> step <= total - decay": "at this step the fall has the full rate too",
    },
}

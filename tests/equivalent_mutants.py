"""Changes to the solutions that change nothing in what they return: {exercise: {change: why nothing changes}}."""

EQUIVALENT = {}

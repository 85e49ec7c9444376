"""The checks of notebook 05, "Exercises"."""

EXERCISES = []

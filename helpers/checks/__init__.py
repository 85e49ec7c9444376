"""The marker of the exercises: `checks.NAME(function)` answers *not attempted yet*, *not yet* and why, or *correct*.

The exercises of a notebook are in the module named after its subject, each with its known mistakes; notebook 00,
"Exercises, hints and checks", shows how a check is used, and marker.py is what they all share.
"""

from importlib import import_module

MODULES = {
    "00": "start",
    "01": "tokenizer",
    "02": "attention",
    "03": "block",
    "04": "gpt",
    "05": "training",
    "06": "generation",
}


def exercises(notebook):
    """Return the checks of a notebook ("00" to "06") by name, in the order of the exercises."""
    module = import_module(f"helpers.checks.{MODULES[notebook]}")
    return {exercise.name: exercise for exercise in module.EXERCISES}


def everything():
    """Return all checks by name."""
    return {name: exercise for notebook in MODULES for name, exercise in exercises(notebook).items()}


def __getattr__(name):
    """Return the check of this name: `checks.NAME`."""
    if name.startswith("_"):
        raise AttributeError(name)
    for notebook in MODULES:
        if name in (known := exercises(notebook)):
            return known[name]
    raise AttributeError(f"There is no check named {name}. There are: {', '.join(everything())}")


def __dir__():
    """Return what can be asked for, so that the Tab key completes it."""
    return sorted([*everything(), "MODULES", "everything", "exercises"])

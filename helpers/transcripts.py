"""Typed answers, written down: sessions of a debugger or a prompt that run the same each time (notebooks 03 and 06)."""

import builtins
import re
import sys
from contextlib import contextmanager, redirect_stdout

# Jupyter compiles each cell under the name of a temporary file, another one in every session.
CELL_FILE = re.compile(r"^(> |  )?\S.*ipykernel_\d+[/\\]\d+\.py(?=\(\d+\))", re.MULTILINE)


class _WithoutPaths:
    """A standard output that calls every cell `<cell>`, whatever temporary file the kernel made of it."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self.stream.write(CELL_FILE.sub(r"\1<cell>", text))
        return len(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextmanager
def scripted_input(answers, live=False):
    """Answer `input()`, and so every prompt of ipdb, with `answers` one by one; prompt and answer are printed as if typed.

    answers: strings. live: `True` steps aside, so that you type yourself. What the session prints is untouched, but for
    the temporary name of a cell, which becomes `<cell>`. Raises RuntimeError if there is a question too many or an
    answer too many. Notebook 03, "Debugging a shape error".
    """
    if live:
        yield
        return
    left, real = list(answers), builtins.input

    def next_answer(prompt=""):
        if not left:
            raise RuntimeError(f"The script has no answer left for {prompt!r}.")
        print(f"{prompt}{left[0]}")
        return left.pop(0)

    builtins.input = next_answer
    try:
        with redirect_stdout(_WithoutPaths(sys.stdout)):
            yield
    finally:
        builtins.input = real
    if left:
        raise RuntimeError(f"The session ended before these answers were used: {left}.")

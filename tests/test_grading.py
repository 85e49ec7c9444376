"""Grading a folder of students' notebooks: right and wrong ones, one that crashes, one that hangs, one that is none."""

import csv

import nbformat
import pytest

from helpers.__main__ import main
from helpers.checks import exercises

SOFTMAX = "    powers = (scores - scores.max()).exp()\n    return powers / powers.sum() @ v"
RIGHT = "def attend_once(q, k, v):\n    scores = k @ q / len(q) ** 0.5\n" + SOFTMAX
WRONG = "def attend_once(q, k, v):\n    scores = k @ q\n" + SOFTMAX
STUB = "def causal_softmax(scores):\n    raise NotImplementedError"


def write(path, *sources, tags=()):
    """Write a notebook of code cells, after an import of torch."""
    path.parent.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell(source) for source in ("import torch", *sources)]
    cells[-1].metadata.tags = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The table of a small class, by student and exercise."""
    folder = tmp_path_factory.mktemp("class")
    write(folder / "ann" / "02_attention.ipynb", RIGHT, STUB, "1 / 0", tags=["check"])
    write(folder / "ben" / "02.ipynb", "1 / 0", WRONG, "def causal_softmax(s):\n    while True: pass", "1 +")
    write(folder / "cleo" / "02.ipynb", "import os", "os._exit(1)", RIGHT, "def causal_softmax(s):\n    os._exit(1)")
    write(folder / "dan.ipynb", "while True: pass", RIGHT, STUB)
    write(folder / "eve.ipynb", STUB, "def attend_once(q, k, v):\n    return nothing_like_this")
    write(folder / "fred.ipynb", "print('another course')")
    write(folder / "gus.ipynb", RIGHT, *[STUBBORN] * 5)
    (folder / "hal.ipynb").write_text("no notebook", encoding="utf-8")
    main(["grade", str(folder), "--out", str(folder / "grades.csv"), "--seconds", "75"])
    with open(folder / "grades.csv", encoding="utf-8", newline="") as stream:
        return {(row["student"], row["exercise"]): row for row in csv.DictReader(stream)}


@pytest.mark.parametrize(
    ("student", "exercise", "state", "mistake"),
    [
        ("ann", "attend_once", "correct", ""),
        ("ann", "causal_softmax", "not attempted yet", ""),
        ("ann", "multi_head", "missing", ""),
        ("ben", "attend_once", "not yet", "no scaling"),  # after a cell with an error
        ("ben", "causal_softmax", "hangs", ""),
        ("cleo", "attend_once", "correct", ""),  # although a cell before it ended the kernel
        ("cleo", "causal_softmax", "crashes", ""),
        ("dan", "attend_once", "correct", ""),  # although a cell before it never ends
        ("eve", "attend_once", "not yet", ""),
        ("eve", "causal_softmax", "not attempted yet", ""),
        ("fred", "", "missing", ""),
        ("gus", "attend_once", "hangs", ""),  # not to be interrupted: the whole notebook is stopped
        ("hal", "", "crashes", ""),
    ],
)
def test_each_exercise_of_each_student_gets_its_state(rows, student, exercise, state, mistake):
    """Whatever the notebook does, it and those after it are graded; a known mistake is named, and the answer is kept."""
    row = rows[student, exercise]
    assert (row["state"], row["mistake"]) == (state, mistake), row["answer"]
    assert row["answer"] and "Traceback" not in row["answer"] and mistake in row["answer"]


def test_every_exercise_has_a_row(rows):
    """Those of the notebook, also the ones that a student took out."""
    of_ann = [exercise for student, exercise in rows if student == "ann"]
    assert of_ann == list(exercises("02"))


def test_a_folder_without_notebooks_gets_a_sentence(tmp_path):
    """It says what to give instead."""
    with pytest.raises(SystemExit, match="There is no notebook"):
        main(["grade", str(tmp_path), "--out", str(tmp_path / "grades.csv")])

"""Stubs, solutions, known mistakes and small changes of solutions: what the check of each exercise answers."""

import os
import random
from pathlib import Path

import pytest
import torch
from equivalent_mutants import EQUIVALENT
from mutants import limited, mutants, random_change, twin
from notebook_files import NOTEBOOKS, read

from helpers import checks
from helpers.checks.marker import CORRECT, NOT_ATTEMPTED, NOT_YET, NotMet

SOLUTIONS = Path(__file__).parent.parent / "notebooks" / "solutions"
EXERCISES = {(notebook, name): check for notebook in checks.MODULES for name, check in checks.exercises(notebook).items()}
exercises = pytest.mark.parametrize(("notebook", "name"), EXERCISES)


def notebook_file(notebook, folder=SOLUTIONS):
    """Return the path of a notebook, or of its solutions, from its number."""
    return next(folder.glob(f"{notebook}_*.ipynb"))


def tagged(path, *tags):
    """Return the sources of a notebook's code cells that have one of the tags."""
    return [c.source for c in read(path).cells if c.cell_type == "code" and set(tags) & set(c.metadata.get("tags", []))]


def solution(notebook, name):
    """Return (source, names) of a solution: the cell that defines it, and all that its notebook's definitions need."""
    names, source = {}, None
    for cell in tagged(notebook_file(notebook), "setup", "solution"):
        exec(cell, names)
        source = cell if f"def {name}(" in cell else source
    assert source, f"no cell with the tag solution defines {name}"
    return source, names


@exercises
def test_the_stub_is_not_attempted_yet(notebook, name):
    """The stub stands in the notebook with a docstring, and its check says so, in one line."""
    names = {}
    for cell in tagged(notebook_file(notebook, NOTEBOOKS[0].parent), "stub"):
        exec(cell, names)
    assert names[name].__doc__
    verdict = EXERCISES[notebook, name].judge(names[name])
    assert (verdict.state, verdict.message) == (NOT_ATTEMPTED, f"{name}: not attempted yet.")


@exercises
def test_the_solution_is_correct(notebook, name):
    """The solutions' notebook solves it."""
    verdict = EXERCISES[notebook, name].judge(solution(notebook, name)[1][name])
    assert verdict.state == CORRECT, verdict.message


@exercises
def test_every_known_mistake_is_named(notebook, name):
    """Each is caught, and named by its own name; there are at least three, their names differ, their nudges are sentences."""
    check = EXERCISES[notebook, name]
    assert len({mistake.name for mistake in check.mistakes}) == len(check.mistakes) >= 3
    for mistake in check.mistakes:
        verdict = check.judge(mistake.function)
        assert (verdict.state, verdict.mistake) == (NOT_YET, mistake.name), verdict.message
        assert mistake.nudge[-1] in ".?" and mistake.nudge in verdict.message


def test_there_are_at_least_a_hundred_known_mistakes(record_property):
    """In at least thirty exercises, four to eight in each of the notebooks 01 to 06; the table of them is printed."""
    assert all(4 <= len(checks.exercises(notebook)) <= 8 for notebook in list(checks.MODULES)[1:])
    known = [(name, mistake, check) for (_, name), check in EXERCISES.items() for mistake in check.mistakes]
    rows = [(name, mistake.name, check.judge(mistake.function).mistake) for name, mistake, check in known]
    assert len(EXERCISES) >= 30 and len(rows) >= 100
    width = max(len(name) for name, *_ in rows)
    table = [f"{name:<{width}}  {wrong}: {'named' if said == wrong else f'NOT NAMED ({said})'}" for name, wrong, said in rows]
    record_property("table", "\n".join([*table, f"{len(rows)} known mistakes in {len(EXERCISES)} exercises"]))
    assert all(mistake == said for _, mistake, said in rows)


@exercises
def test_a_wrong_function_is_not_yet(notebook, name):
    """A function that returns nothing, text, its first argument, or raises, is caught without a traceback, and not named."""
    check = EXERCISES[notebook, name]
    for wrong in (lambda *a: None, lambda *a: "wrong", lambda *a: a[0], lambda *a: 1 / 0, lambda *a: exit(1)):
        verdict = check.judge(wrong)
        assert (verdict.state, verdict.mistake) == (NOT_YET, "") and "Traceback" not in verdict.message


@exercises
def test_a_hundred_changed_results_are_not_correct(notebook, name):
    """In one case, one number, shape, type or part of what the solution returns is changed at random."""
    check, attempt, rng = EXERCISES[notebook, name], solution(notebook, name)[1][name], random.Random(0)
    cases = [i for i, (_, _, wanted) in enumerate(check.drawn) if wanted.error is None]
    for seed in range(100):
        case = rng.choice(cases)
        verdict = twin(check, case, random_change(seed, check.tolerance)).judge(attempt)
        assert verdict.state == NOT_YET, (seed, check.drawn[case][0])


@exercises
def test_a_changed_solution_is_not_correct(notebook, name):
    """A solution with one operator, number or statement changed is never correct, unless the change changes nothing."""
    (source, names), passed = solution(notebook, name), set()
    for what, mutant in mutants(source):
        space = dict(names)
        exec(mutant, space)
        if EXERCISES[notebook, name].judge(limited(space[name])).state == CORRECT:
            passed.add(what)
    assert passed == set(EQUIVALENT.get(name, {}))


def test_no_module_hides_a_check():
    """`checks.NAME` is the check, and no file of that name; an unknown name gets a sentence that names the known ones."""
    assert all(getattr(checks, name) is check for (_, name), check in EXERCISES.items())
    with pytest.raises(AttributeError, match=r"There is no check named nonsense. There are: mean,"):
        checks.nonsense  # noqa: B018


def test_strict_raises(monkeypatch, capsys):
    """With COURSE_STRICT=1 a check that isn't met raises its sentence; without, it prints it."""
    check = next(iter(EXERCISES.values()))
    assert check(lambda *a: "wrong").state == NOT_YET
    assert capsys.readouterr().out.startswith(f"{check.name}: not yet.")
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(NotMet, match="not yet"):
        check(lambda *a: "wrong")
    assert check(check.reference).state == CORRECT and os.environ["COURSE_STRICT"] == "1"


def test_a_check_leaves_the_notebooks_random_numbers_alone():
    """What a later cell draws does not depend on whether a check was run before it."""
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    next(iter(EXERCISES.values())).judge(lambda *a: "wrong")
    assert torch.equal(torch.rand(3), wanted)

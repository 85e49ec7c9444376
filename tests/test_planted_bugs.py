"""Plants each bug of the bank in a copy of the helpers and shows that the test named for it fails."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from planted_bugs import BUGS

ROOT = Path(__file__).resolve().parent.parent
PLANTABLE = shutil.ignore_patterns("__pycache__", "*.pyc")


def run_tests(folder, tests):
    """Run tests in a folder that holds a copy of the course; return the exit code and the output."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}  # the copy comes before the installed helpers
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, done.stdout + done.stderr


def copy_of_the_course(folder):
    """Copy helpers, tests and settings, without the data."""
    for name in ("helpers", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=PLANTABLE)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def plant(bug, folder):
    """Copy the course into `folder` with the bug in it, and return what the test named for it says."""
    file = copy_of_the_course(folder) / "helpers" / bug.file
    file.write_text(file.read_text(encoding="utf-8").replace(bug.old, bug.new), encoding="utf-8")
    return run_tests(folder, [f"tests/{bug.test}"])


def test_the_bank_is_large_and_its_names_differ():
    """There are at least twenty bugs, in every part of the model, its training and its use."""
    assert len(BUGS) >= 20 and len({bug.name for bug in BUGS}) == len(BUGS)
    assert {bug.file for bug in BUGS} >= {f"{part}.py" for part in "attention block gpt data training generation".split()}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_be_planted(bug):
    """What a bug replaces stands exactly once in the file."""
    assert (ROOT / "helpers" / bug.file).read_text(encoding="utf-8").count(bug.old) == 1


def test_every_planted_bug_fails_its_test(tmp_path, record_property):
    """Without a bug all named tests pass; with it, the test named for it fails, and not for want of being found."""
    tests = sorted({f"tests/{bug.test}" for bug in BUGS})
    code, output = run_tests(copy_of_the_course(tmp_path / "sound"), tests)
    assert code == 0, output
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(plant, BUGS, [tmp_path / str(i) for i in range(len(BUGS))]))
    caught = [code == pytest.ExitCode.TESTS_FAILED for code, _ in results]
    width = max(len(bug.name) for bug in BUGS)
    table = [f"{bug.name:<{width}}  {bug.test if found else 'NOTHING'}" for bug, found in zip(BUGS, caught, strict=True)]
    total = f"{sum(caught)} of {len(BUGS)} planted bugs caught"
    record_property("table", "\n".join([f"{'planted bug':<{width}}  caught by", *table, total]))
    missed = [f"{bug.name}:\n{output}" for bug, found, (_, output) in zip(BUGS, caught, results, strict=True) if not found]
    assert not missed, "\n".join(missed)

"""Looks at this machine and says what is wrong and what to do (notebook 00; `python -m helpers doctor`)."""

import importlib.metadata
import platform
import shutil

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers.data import DATA, ENCYCLOPEDIA, shipped_tokenizer
from helpers.device import pick_device

ROOT = DATA.parent
SET_UP = "delete the file .venv/installed.sha256, then run `python course.py run doctor`: it installs what is missing"
NEEDED = {"memory": 4, "disk": 3}  # GB free: for training `tiny` beside a browser; for a run's checkpoints


def package_problems():
    """Yield a sentence for each package that is missing or not the version that this course was tested with."""
    constraints = [Requirement(line) for line in _lines("constraints.txt")]
    pinned = {c.name: str(c.specifier) for c in constraints if c.marker is None or c.marker.evaluate()}
    for requirement in map(Requirement, _lines("requirements.txt")):
        wanted = str(requirement.specifier) or pinned.get(requirement.name, "")
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{requirement.name} is not installed: {SET_UP}."
            continue
        if not SpecifierSet(wanted).contains(found):
            yield f"{requirement.name} is {found}, tested with {wanted}: if something fails, {SET_UP}."


def _lines(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def machine_problems(memory, disk):
    """Yield a sentence for each thing that this machine is short of. memory, disk: free GB."""
    if memory < NEEDED["memory"]:
        yield f"Only {memory:.1f} GB of memory are free: close other programs before training, or train `tiny` only."
    if disk < NEEDED["disk"]:
        yield f"Only {disk:.1f} GB of disk are free: make room, or put runs elsewhere with --out."
    if not any(ENCYCLOPEDIA.glob("*.txt")) or not shipped_tokenizer("encyclopedia", 2048).is_file():
        yield f"The shipped corpus or its tokenizer is missing from {DATA}: fetch the course again (`git checkout data`)."


def doctor():
    """Print what this machine has and each problem with its remedy; return the number of problems."""
    memory, disk = psutil.virtual_memory().available / 1e9, shutil.disk_usage(ROOT).free / 1e9
    print(f"system    {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    for name in ("torch", "sentencepiece", "numpy", "jupyterlab", "wandb"):
        try:
            print(f"{name:<15} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name:<15} missing")
    print(f"device    {pick_device().reason}")
    print(f"free      {memory:.1f} GB of memory, {disk:.1f} GB of disk")
    problems = [*package_problems(), *machine_problems(memory, disk)]
    for problem in problems:
        print(f"problem   {problem}")
    print("All is well." if not problems else f"{len(problems)} problem(s) found.")
    return len(problems)

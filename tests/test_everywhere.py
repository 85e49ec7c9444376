"""Colab, dev container, Binder, GitHub: each sets up the same course from the same lists."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from notebook_files import NOTEBOOKS, ROOT, read

sys.path.insert(0, str(ROOT / "notebooks"))
from save import fetch

ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def test_the_first_cell_fetches_the_course_where_it_is_missing(tmp_path, monkeypatch):
    """In Colab: clones it from the one address, installs what the notebooks use, and nothing of the workshop."""
    commands = []

    def pretend(command, check):
        commands.append(command)
        if command[0] == "git":
            (tmp_path / command[-1]).mkdir()
            shutil.copy(ROOT / "requirements.txt", tmp_path / command[-1])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(subprocess, "run", pretend)
    exec(fetch(), {})
    assert commands == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(fetch(), {})
    git, pip = commands
    assert git == ["git", "clone", "--depth", "1", ADDRESS, "course"]
    assert pip[1:5] == ["-m", "pip", "install", "--quiet"] and {"torch", "sentencepiece", "nbclient"} <= set(pip[5:])
    assert not {"jupyterlab", "pytest", "sphinx"} & set(pip[5:]) and sys.path[0] == str(tmp_path / "course") == os.getcwd()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_lecture_begins_with_that_cell(path):
    """As its first code cell, off the slides."""
    first = next(cell for cell in read(path).cells if cell.cell_type == "code")
    assert (first.id, first.source) == ("fetch", fetch()) and first.metadata.slideshow.slide_type == "skip"


def test_the_dev_container_sets_up_by_the_readmes_command():
    """With the Python of environment.yml; the editor finds the interpreter that the command makes."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["image"].endswith("python:3.11") and container["postCreateCommand"] == "python course.py run doctor"
    interpreter = container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"


def test_binder_installs_the_one_list():
    """Python of the version that environment.yml names, then requirements.txt, by a script that can be executed."""
    folder = ROOT / ".binder"
    assert (folder / "runtime.txt").read_text(encoding="utf-8").strip() == "python-3.11"
    assert "pip install --no-cache-dir -r requirements.txt" in (folder / "postBuild").read_text(encoding="utf-8")
    assert os.access(folder / "postBuild", os.X_OK)


def test_github_runs_the_readmes_command_everywhere():
    """On three systems and three Pythons at each change, and each week with the newest packages."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    course, newest = workflow["jobs"]["course"], workflow["jobs"]["newest"]
    matrix = course["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["system"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"] and course["steps"][-1]["run"] == "python course.py test"
    triggers = workflow[True]  # YAML reads the key `on` as a truth value
    *_, without_versions, tests = (step["run"] for step in newest["steps"] if "run" in step)
    assert triggers["schedule"] and "schedule" in newest["if"] and tests.startswith("python course.py test")
    assert "/^-c /d" in without_versions and "-c constraints.txt" in (ROOT / "requirements.txt").read_text(encoding="utf-8")

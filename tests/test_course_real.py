"""course.py as a user starts it: a real environment, filled from a small wheel without any network; and `.ci/run`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
from course_machine import INPUTS, REPOSITORY

# Stands for helpers, pytest and jupyterlab: tells how it was started, and ends with its last argument, or on Ctrl-C.
SHOW = """
import json, os, sys, time
shown = ("GLIBC_TUNABLES", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
try:
    print(json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "env": {k: os.environ.get(k) for k in shown}}), flush=True)
    time.sleep(60 * (sys.argv[1] == "wait"))
except KeyboardInterrupt:
    sys.exit(42)
sys.exit(int(sys.argv[-1]))
"""
OPTIONS = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups and no shell")


def make_wheel(path):
    """Write a wheel that holds the three packages."""
    with zipfile.ZipFile(path, "w") as wheel:
        for package in ("helpers", "pytest", "jupyterlab"):
            wheel.writestr(f"{package}/__main__.py", SHOW)
        wheel.writestr("stub-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: stub\nVersion: 1.0\n")
        wheel.writestr("stub-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("stub-1.0.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A checkout in a folder of odd name, a way to `start` its course.py from elsewhere, and the output of the `first` run."""
    home = tmp_path_factory.mktemp("home")
    root = home / "a student's cöurse 課程"
    (home / "helpers").mkdir()  # the user's own, in his folder and on his PYTHONPATH
    (home / "helpers" / "__main__.py").write_text("raise SystemExit('not of the course')", encoding="utf-8")
    root.mkdir()
    shutil.copy(REPOSITORY / "course.py", root)
    make_wheel(root / "stub-1.0-py3-none-any.whl")
    for name in INPUTS:
        (root / name).write_text("./stub-1.0-py3-none-any.whl\n" if name == "requirements.txt" else "", encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "GLIBC_", "PYTHON"))}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_USER": "1", "PYTHONPATH": str(home), "PYTHONUTF8": "1"}

    def start(*arguments, **more):
        command = [sys.executable, str(root / "course.py"), *arguments]
        return subprocess.Popen(command, cwd=home, env=env, **OPTIONS, **more)

    python = root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)  # a .venv that was left half made
    python.write_bytes(b"")
    first = start("run", "hello world", "3")
    out, err = first.communicate()
    return SimpleNamespace(root=root, home=home, start=start, out=out, err=err, code=first.returncode)


def test_the_first_run_sets_up_and_runs_the_command(course):
    """In place of a .venv that does not run one is made and filled, what happens is told, the command's exit code returned."""
    assert course.code == 3, course.err
    assert "Setting up" in course.err and "Successfully installed stub-1.0" in course.err
    told = json.loads(course.out)
    assert told["argv"][1:] == ["hello world", "3"] and os.path.samefile(told["cwd"], course.home)


def test_the_command_is_undisturbed_by_another_python(course):
    """The user's PYTHONPATH does not reach the command, .venv counts as active, and on Linux memory comes in large pages."""
    variables = json.loads(course.out)["env"]
    assert variables["PYTHONPATH"] is None and variables["PYTHONHOME"] is None
    assert os.path.samefile(variables["VIRTUAL_ENV"], course.root / ".venv")
    assert variables["GLIBC_TUNABLES"] == ("glibc.malloc.hugetlb=1" if sys.platform.startswith("linux") else None)


@pytest.mark.parametrize(("name", "module"), [("run", "helpers"), ("test", "pytest"), ("lab", "jupyterlab")])
def test_later_runs_start_at_once(course, name, module):
    """Once set up, each of the three commands starts its module and says nothing of its own; test and lab in the checkout."""
    process = course.start(name, "-x", "0")
    out, err = process.communicate()
    told = json.loads(out)
    assert (err, process.returncode) == ("", 0)
    assert os.path.basename(os.path.dirname(told["argv"][0])) == module and told["argv"][-2:] == ["-x", "0"]
    assert os.path.samefile(told["cwd"], course.home if name == "run" else course.root)


@POSIX
def test_ctrl_c_is_the_commands_own_affair(course):
    """Ctrl-C reaches the command, which decides what it means; course.py adds no traceback and passes the exit code on."""
    process = course.start("run", "wait", start_new_session=True)
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert (err, process.returncode) == ("", 42)


@POSIX
@pytest.mark.parametrize("name", ["python3.11", "python3", "python"])
def test_ci_calls_the_command_of_the_readme(tmp_path, name):
    """`.ci/run` finds a Python that is new enough, whatever its name, and does `course.py test` in the checkout, no more."""
    assert "python course.py test" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "course.py").write_text("import os, sys; print(sys.argv[1:], os.getcwd()); sys.exit(9)", encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    for old in {"python3.11", "python3", "python"} - {name}:
        (tools / old).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (tools / old).chmod(0o755)
    (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (tools / name).chmod(0o755)
    env = {**os.environ, "CI": "true", "PATH": f"{tools}{os.pathsep}{os.path.dirname(shutil.which('dirname'))}"}
    done = subprocess.run([shutil.which("bash"), str(tmp_path / ".ci" / "run")], cwd=tools, env=env, **OPTIONS)
    assert (done.returncode, done.stdout, done.stderr) == (9, f"['test'] {tmp_path.resolve()}\n", "")

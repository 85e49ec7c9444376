"""course.py runs the three commands, and sets up only what isn't set up yet; Python and pip are pretended."""

import os
import sys

import pytest
from course_machine import INPUTS, Finished, Machine, checkout, load_course


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The module course.py of a checkout of its own."""
    return checkout(tmp_path, monkeypatch)


@pytest.fixture
def machine(course, monkeypatch):
    """The pretended computer that it runs on."""
    return Machine(course, monkeypatch)


def installed(machine):
    """Set up once, successfully, and return the checkout's folder."""
    assert machine.course.main(["test"]) == 7
    machine.done.clear()
    return machine.course.ROOT


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]])
def test_help_is_printed_with_exit_code_0(course, machine, capsys, arguments):
    """--help and -h show how to use the program and do nothing."""
    assert course.main(arguments) == 0 and machine.done == []
    assert "lab" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], [""], ["install"], ["Test"], ["helpers", "run"]])
def test_anything_else_gets_the_usage_with_exit_code_2(course, machine, capsys, arguments):
    """No argument or an unknown one shows how to use the program, on standard error, and does nothing."""
    assert course.main(arguments) == 2 and machine.done == []
    out, err = capsys.readouterr()
    assert out == "" and all(word in err for word in ("Usage", "lab", "test", "run"))


def test_the_second_run_installs_nothing(course, machine, capsys):
    """Nothing changed: no pip, no word, just the command."""
    installed(machine)
    capsys.readouterr()
    assert course.main(["test", "-k", "a b"]) == 7
    assert machine.done == ["start -m pytest -k a b"] and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_file_installs_again(course, machine, name):
    """Each of the three files decides what is installed; pip is called in the environment that is there."""
    folder = installed(machine)
    (folder / name).write_text("# something\n", encoding="utf-8")
    course.main(["test"])
    assert machine.done == ["pip", "start -m pytest"]


def test_a_failed_installation_is_repeated_even_if_the_change_is_taken_back(course, machine):
    """A half-done change of packages leaves no stamp, so the old list is installed anew."""
    folder = installed(machine)
    (folder / "requirements.txt").write_text("# something\n", encoding="utf-8")
    machine.pip_errors = ["ERROR: strange\n"]
    with pytest.raises(SystemExit, match="pip could not install"):
        course.main(["test"])
    (folder / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    machine.done.clear()
    assert course.main(["test"]) == 7 and machine.done == ["pip", "start -m pytest"]


def test_a_moved_checkout_or_another_python_installs_again(course, machine, monkeypatch, tmp_path):
    """`-e .` records the folder, packages belong to a Python version: a change of either calls pip."""
    installed(machine)
    machine.version = "(3, 12)\n"
    course.main(["test"])
    assert machine.done == ["pip", "start -m pytest"]
    machine.done.clear()
    moved = load_course(course.ROOT.rename(tmp_path / "elsewhere"))
    machine.replace(moved, monkeypatch)
    moved.main(["test"])
    assert machine.done == ["pip", "start -m pytest"]


@pytest.mark.parametrize("fault", ["interpreter", "new_enough", "has_pip"])
def test_a_broken_environment_is_made_again(course, machine, fault):
    """A .venv whose interpreter does not run, or is an old Python, or which was left without pip, is made anew."""
    folder = installed(machine)
    setattr(machine, fault, False)
    if fault == "has_pip":  # half made: never installed
        course.STAMP.unlink()
    assert course.main(["test"]) == 7
    assert machine.done == ["venv", "pip", "start -m pytest"] and (folder / ".venv/installed.sha256").is_file()


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_environment_of_the_children(course, monkeypatch, platform):
    """Large pages on Linux unless chosen otherwise, UTF-8 on Windows, .venv first, nothing of another Python."""
    monkeypatch.setattr(course, "LINUX", platform == "linux")
    monkeypatch.setattr(course, "WINDOWS", platform == "win32")
    outer = {"PATH": "rest", "PYTHONPATH": "x", "PYTHONHOME": "y", "PIP_USER": "1", "HOME": "z", "VIRTUAL_ENV": "other"}
    first = os.path.dirname(course.PYTHON) + os.pathsep + "rest"
    expected = {"PATH": first, "HOME": "z", "VIRTUAL_ENV": str(course.VENV), "PIP_USER": "0"}
    extra = {"linux": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, "win32": {"PYTHONUTF8": "1"}, "darwin": {}}
    assert course.environment(outer) == expected | extra[platform]
    chosen = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    assert course.environment(chosen)["GLIBC_TUNABLES"] == chosen["GLIBC_TUNABLES"]
    assert outer["PYTHONPATH"] == "x", "the variables of this process stay as they are"


def test_lab_opens_the_first_notebook(course, machine):
    """JupyterLab starts in the checkout; it opens notebook 00, or the folder of notebooks, or the checkout, as there is."""
    started = "start -m jupyterlab --LabApp.default_url=/lab/tree/"
    assert course.main(["lab", "--no-browser"]) == 7 and machine.done[-1] == started + " --no-browser"
    (course.ROOT / "notebooks").mkdir()
    assert course.main(["lab"]) == 7 and machine.done[-1] == started + "notebooks"
    (course.ROOT / "notebooks" / "00_start_here.ipynb").touch()
    assert course.main(["lab"]) == 7 and machine.done[-1] == started + "notebooks/00_start_here.ipynb"
    assert os.path.samefile(machine.folder, course.ROOT)


def test_run_stays_where_the_user_is(course, machine, tmp_path):
    """The paths that a user gives to `run` count from the user's folder, and no folder named helpers there is imported."""
    assert course.main(["run", "train", "--data", "my text.txt"]) == 7
    assert machine.done[-1] == "start -P -m helpers train --data my text.txt"
    assert os.path.samefile(machine.folder, tmp_path)


def test_on_windows_the_exit_code_is_passed_on_and_ctrl_c_left_to_the_child(course, monkeypatch):
    """Where a process can't be replaced, course.py waits, through any Ctrl-C, for the child's own end."""
    monkeypatch.setattr(course, "WINDOWS", True)
    assert course.hand_over([sys.executable, "-c", "import sys; sys.exit(5)"], dict(os.environ)) == 5
    answers = iter([KeyboardInterrupt(), KeyboardInterrupt(), 6])

    def wait():
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(course, "Popen", lambda *_, **__: Finished(wait=wait))
    assert course.hand_over(["anything"], {}) == 6

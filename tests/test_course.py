"""`course.py` with a pretended Python and pip: set-up only where it is needed, and a sentence for all that can go wrong."""

import ast
import errno
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
INPUTS = ("requirements.txt", "constraints.txt", "pyproject.toml")
RETRY = (
    "WARNING: Retrying (Retry(total={}, connect=None, read=None, redirect=None, status=None)) after connection broken by '{}"
)
NOT_FOUND = "ERROR: Could not find a version that satisfies the requirement {0} (from versions: none)\n"
NOT_FOUND += "ERROR: No matching distribution found for {0}\n"
REFUSED = RETRY.format(
    0, "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused')': /simple/"
)
NO_ROOM = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

OFFLINE = {  # as printed by the pip named, with the network cut, refused, or a download that ends early
    "23.2 refused": REFUSED + "\n" + NOT_FOUND.format("torch==2.13.0"),
    "26.3 no name server": RETRY.format(0, "NameResolutionError(\"Failed to resolve 'pypi.org'\")': /simple/") + "\n",
    "23.2 timed out": "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(port=443): Read timed out.\n",
    "23.2 reset": "pip._vendor.urllib3.exceptions.ProtocolError: ('Connection broken: ConnectionResetError(104)')\n",
    "23.2 cut short": "ERROR: Wheel 'six' located at /tmp/pip-unpack-mbygwtth/six-1.17.0-py2.py3-none-any.whl is invalid.\n",
    "24.0 wrong hash": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n",
    "25.3 cut short": "× Download failed after 6 attempts because not enough bytes were received (10.0 kB/3.0 MB)\n"
    "note: This is an issue with network connectivity, not pip.\n",
}


class Machine:
    """Stands for this computer: what the interpreter in .venv and pip do, and a record `done` of what they were asked."""

    def __init__(self, course):
        self.course, self.done, self.env = course, [], None
        self.interpreter = self.has_pip = False  # is there a .venv that runs, and pip in it?
        self.version = "(3, 11)\n"
        self.venv_error = self.ensurepip_output = None
        self.pip_errors = []  # what each next call of pip prints before it fails; then it succeeds

    def run(self, command, env, **_):
        """Be `subprocess.run`."""
        assert command[0] == self.course.PYTHON
        if not self.interpreter:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", command[0])
        if "ensurepip" in command and self.ensurepip_output:
            return SimpleNamespace(returncode=1, stdout=self.ensurepip_output)
        self.has_pip |= "ensurepip" in command
        asks_pip = command[1:] == ["-m", "pip", "--version"]
        return SimpleNamespace(returncode=int(asks_pip and not self.has_pip), stdout=self.version)

    def builder(self, clear, symlinks, prompt):
        """Be `venv.EnvBuilder`."""
        return self

    def create(self, folder):
        """Be `venv.EnvBuilder.create`."""
        self.done.append("venv")
        if self.venv_error:
            raise self.venv_error
        Path(folder).mkdir(exist_ok=True)
        self.interpreter = True

    def popen(self, command, cwd, env, **_):
        """Be `subprocess.Popen` for pip."""
        assert command[1:] == ["-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt"]
        assert Path(cwd) == self.course.ROOT, "`-e .` is relative to the checkout"
        self.done.append("pip")
        errors = self.pip_errors.pop(0) if self.pip_errors else ""
        return Finished(returncode=int(bool(errors)), stderr=io.StringIO(errors))

    def hand_over(self, command, env):
        """Be the last step: the command that is started, and with which environment."""
        self.done.append(" ".join(["start", *command[1:]]))
        self.env, self.folder = env, os.getcwd()
        return 7


class Finished(SimpleNamespace):
    """A process that has ended."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def load_course(folder):
    """Import the course.py of a folder."""
    spec = importlib.util.spec_from_file_location("course", folder / "course.py")
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    return course


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The module course.py of a checkout of its own, in a folder with a space and a letter beyond ASCII."""
    folder = tmp_path / "my cöurse"
    folder.mkdir()
    shutil.copy(REPOSITORY / "course.py", folder)
    for name in INPUTS:
        (folder / name).write_text("# nothing\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return load_course(folder)


@pytest.fixture
def machine(course, monkeypatch):
    """The pretended computer under `course`."""
    machine = Machine(course)
    monkeypatch.setattr(course, "run", machine.run)
    monkeypatch.setattr(course, "Popen", machine.popen)
    monkeypatch.setattr(course, "hand_over", machine.hand_over)
    monkeypatch.setattr(venv, "EnvBuilder", machine.builder)
    return machine


def sentence(course):
    """Run `course.py test`, which must end with one sentence on standard error and exit code 1, and return the sentence."""
    with pytest.raises(SystemExit) as end:
        course.main(["test"])
    text = end.value.code.strip()
    assert isinstance(text, str) and "\n" not in text and text.endswith(".")
    assert not course.STAMP.exists()
    return text


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


def test_an_old_python_is_told_what_to_install(course, machine, monkeypatch):
    """A Python older than 3.11 ends with a sentence, before anything is done."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    assert sentence(course) == "This is Python 3.10: install Python 3.11 or newer (python.org) and use that."
    assert machine.done == []


def test_an_old_python_can_read_the_file():
    """The syntax is that of Python 3.6, so that the sentence for an old Python is reached."""
    source = (REPOSITORY / "course.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"os", "re", "sys", "hashlib", "importlib.util", "pathlib", "subprocess", "venv"}
    newer = [node for node in ast.walk(tree) if isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.Match))]
    assert not newer and not any(getattr(node, "annotation", None) for node in ast.walk(tree))


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_missing_module_is_named_with_its_package(course, machine, monkeypatch, missing):
    """Debian's Python comes without venv and ensurepip: the sentence names the module and the package python3-venv."""
    monkeypatch.setattr(course, "find_spec", lambda name: None if name == missing else name)
    text = sentence(course)
    assert missing in text and "apt install python3-venv" in text and machine.done == []


@pytest.mark.parametrize("text", OFFLINE.values(), ids=OFFLINE)
def test_without_a_network_it_tries_twice_then_says_so(course, machine, capsys, text):
    """No network: pip's own message is seen, a second try, a sentence, no stamp; the next run installs again."""
    machine.pip_errors = [text, text]
    assert "connect to the internet" in sentence(course)
    assert machine.done == ["venv", "pip", "pip"] and capsys.readouterr().err.count(text) == 2
    machine.done.clear()
    assert course.main(["test"]) == 7 and machine.done == ["pip", "start -m pytest"]


def test_one_failure_of_the_network_is_survived(course, machine):
    """The second try may succeed."""
    machine.pip_errors = [OFFLINE["25.3 cut short"]]
    assert course.main(["test"]) == 7
    assert machine.done == ["venv", "pip", "pip", "start -m pytest"] and course.STAMP.is_file()


def test_the_pip_of_today_speaks_as_expected(course, tmp_path):
    """What the installed pip prints when every connection is refused is recognised as a missing network."""
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PIP_", "HTTP", "ALL_PROXY", "NO_PROXY"))}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "PIP_PROXY": "http://127.0.0.1:9", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "pip", "install", "--target", str(tmp_path), "no-such-package-anywhere"]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and course.remedy(done.stderr, "unknown") == course.OFFLINE


def full_disk(machine, place):
    """Let the disk be full while .venv is made, while pip is set up, or while it installs."""
    if place == "venv":
        machine.venv_error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "pyvenv.cfg")
    elif place == "ensurepip":
        machine.ensurepip_output = NO_ROOM + "Traceback (most recent call last):\nCalledProcessError: …\n"
    else:
        machine.pip_errors = [{"pip": NO_ROOM, "Windows": "[WinError 112] Es ist nicht genug Platz"}.get(place, place)]


QUOTA = "ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded\n"
NO_TEMPORARY = "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp', '/var/tmp']\n"


@pytest.mark.parametrize("place", ["venv", "ensurepip", "pip", "Windows", QUOTA, NO_TEMPORARY, REFUSED + NO_ROOM])
def test_a_full_disk_is_named(course, machine, place):
    """No room while the environment is made or filled: a sentence with the size that is needed, and no second try."""
    full_disk(machine, place)
    text = sentence(course)
    assert "no room on the disk" in text and course.SIZE in text and machine.done.count("pip") <= 1


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(course, machine, code):
    """No permission, or a read-only disk: the sentence names the folder; the same when pip is the one to find out."""
    machine.venv_error = OSError(code, os.strerror(code), str(course.VENV))
    assert f"{course.ROOT} cannot be written" in sentence(course)
    machine.venv_error, machine.pip_errors = None, [f"ERROR: Could not install packages due to an OSError: [Errno {code}] x\n"]
    assert f"{course.ROOT} cannot be written" in sentence(course)


def test_a_machine_without_pytorch_is_told_which_ones_have_it(course, machine):
    """On an Intel Mac, or a Python too new, there is no torch 2.13."""
    machine.pip_errors = [
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.2.1, 2.2.2)\n"
        "ERROR: No matching distribution found for torch==2.13.0\n"
    ]
    assert "Python 3.11 to 3.14" in sentence(course) and machine.done == ["venv", "pip"]
    pinned = re.search(r"torch==(\d+\.\d+)", (REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    assert any(f"PyTorch {pinned[1]} " in text for text in course.REMEDIES.values())


@pytest.mark.parametrize("place", ["pip", "ensurepip", "venv", "colon"])
def test_any_other_failure_ends_in_a_sentence_too(course, machine, capsys, place):
    """What is not foreseen is shown, with the advice to delete .venv and try again."""
    if place == "pip":
        machine.pip_errors = ["ERROR: ResolutionImpossible\n"]
    elif place == "ensurepip":
        machine.ensurepip_output = "Traceback (most recent call last):\nImportError: strange\n"
    else:
        machine.venv_error = {"venv": OSError(5, "strange"), "colon": ValueError("Refusing, strange: the PATH separator :.")}[
            place
        ]
    text = sentence(course)
    assert "delete the folder .venv" in text and "Traceback" not in text
    assert ("ResolutionImpossible" in capsys.readouterr().err) if place == "pip" else ("strange" in text)


def test_a_missing_file_of_the_course_is_named(course, machine):
    """Where requirements.txt is missing, a sentence names it."""
    (course.ROOT / "requirements.txt").unlink()
    assert "requirements.txt" in sentence(course)


def test_ctrl_c_during_the_set_up_prints_no_traceback(course, machine, monkeypatch, capsys):
    """Ctrl-C ends with exit code 130 and a word on how to go on."""
    machine.venv_error = KeyboardInterrupt()
    assert course.main(["lab"]) == 130 and "Stopped" in capsys.readouterr().err


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
    assert "pip could not install" in sentence(course)
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
    for name in ("run", "Popen", "hand_over"):
        monkeypatch.setattr(moved, name, getattr(course, name))
    machine.course = moved
    moved.main(["test"])
    assert machine.done == ["pip", "start -m pytest"]


@pytest.mark.parametrize("fault", ["interpreter", "has_pip"])
def test_a_broken_environment_is_made_again(course, machine, fault):
    """A .venv whose interpreter is missing or does not run, or which was left without pip, is made anew."""
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


@pytest.mark.parametrize("there", ["notebooks/00_start_here.ipynb", "notebooks", ""])
def test_lab_opens_the_first_notebook_that_exists(course, machine, there):
    """JupyterLab starts in the checkout, at notebook 00, or the notebooks folder, or the checkout."""
    (course.ROOT / "notebooks").mkdir() if there else None
    (course.ROOT / there).touch() if there.endswith("ipynb") else None
    assert course.main(["lab", "--no-browser"]) == 7
    assert machine.done[-1] == f"start -m jupyterlab --LabApp.default_url=/lab/tree/{there} --no-browser"
    assert Path(machine.folder) == course.ROOT


def test_run_stays_where_the_user_is(course, machine, tmp_path):
    """The paths that a user gives to `run` count from the user's folder, and no folder named helpers there is imported."""
    assert course.main(["run", "train", "--data", "my text.txt"]) == 7
    assert machine.done[-1] == "start -P -m helpers train --data my text.txt" and Path(machine.folder) == tmp_path


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

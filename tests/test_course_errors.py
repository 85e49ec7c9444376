"""course.py ends in one sentence that says what to do, whatever goes wrong in the set-up: exit code 1, no traceback."""

import ast
import errno
import os
import re
import subprocess
import sys

import pytest
from course_machine import REPOSITORY, Machine, checkout

RETRY = "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None)) after connection broken by '{}': /simple/\n"
REFUSED = RETRY.format("NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused')")
NO_TORCH = "ERROR: No matching distribution found for torch==2.13.0\n"
NO_ROOM = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

OFFLINE = {  # as printed by the pip named, with the network cut, refused, or a download that ends early
    "23.2 refused": REFUSED + "ERROR: Could not find a version … torch==2.13.0 (from versions: none)\n" + NO_TORCH,
    "26.3 no name server": RETRY.format("NameResolutionError(\"Failed to resolve 'pypi.org'\")"),
    "23.2 timed out": "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(port=443): Read timed out.\n",
    "23.2 reset": "pip._vendor.urllib3.exceptions.ProtocolError: ('Connection broken: ConnectionResetError(104)')\n",
    "23.2 cut short": "ERROR: Wheel 'six' located at /tmp/pip-unpack-mbygwtth/six-1.17.0-py2.py3-none-any.whl is invalid.\n",
    "24.0 wrong hash": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n",
    "25.3 cut short": "× Download failed after 6 attempts because not enough bytes were received (10.0 kB/3.0 MB)\n"
    "note: This is an issue with network connectivity, not pip.\n",
}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The module course.py of a checkout of its own."""
    return checkout(tmp_path, monkeypatch)


@pytest.fixture
def machine(course, monkeypatch):
    """The pretended computer that it runs on."""
    return Machine(course, monkeypatch)


def sentence(course):
    """Run `course.py test`, which must end with one sentence on standard error and exit code 1, and return the sentence."""
    with pytest.raises(SystemExit) as end:
        course.main(["test"])
    text = end.value.code.strip()
    assert isinstance(text, str) and "\n" not in text and text.endswith(".")
    assert not course.STAMP.exists()
    return text


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


FULL = {
    "pip": NO_ROOM,
    "pip, and the network failed before": REFUSED + NO_ROOM,
    "quota": "ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded\n",
    "temporary folder": "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp', '/var/tmp']\n",
    "Windows in German": "ERROR: Could not install packages due to an OSError: [WinError 112] Es ist nicht genug Platz\n",
    "venv": OSError(errno.ENOSPC, "Kein Speicherplatz mehr verfügbar", "pyvenv.cfg"),
    "ensurepip": NO_ROOM + "Traceback (most recent call last):\nCalledProcessError: Command …\n",
}


@pytest.mark.parametrize("place", FULL)
def test_a_full_disk_is_named(course, machine, place):
    """No room while the environment is made or filled: a sentence with the size that is needed, and no second try."""
    if place == "venv":
        machine.venv_error = FULL[place]
    elif place == "ensurepip":
        machine.ensurepip_output = FULL[place]
    else:
        machine.pip_errors = [FULL[place]]
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
    """On an Intel Mac, or a Python too new, there is no such version of torch: the sentence names those that have it."""
    machine.pip_errors = ["ERROR: Could not find a version … torch==2.13.0 (from versions: 2.2.1, 2.2.2)\n" + NO_TORCH]
    text = sentence(course)
    pinned = re.search(r"torch==(\d+\.\d+)", (REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    assert f"PyTorch {pinned[1]} " in text and "Python 3.11 to 3.14" in text and machine.done == ["venv", "pip"]


def test_any_other_failure_of_pip_is_shown(course, machine, capsys):
    """What is not foreseen is seen as pip printed it, and the last line says that the reason is above it."""
    machine.pip_errors = ["ERROR: ResolutionImpossible\n"]
    assert "for the reason above" in sentence(course) and machine.done == ["venv", "pip"]
    assert "ERROR: ResolutionImpossible" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(errno.EIO, "strange"), ValueError("a strange path, it contains the separator :.")])
def test_any_other_failure_of_venv_is_named(course, machine, error):
    """What is not foreseen is repeated, with the advice to delete .venv."""
    machine.venv_error = error
    text = sentence(course)
    assert "strange" in text and "delete the folder .venv" in text


def test_any_other_failure_to_set_up_pip_is_named(course, machine):
    """Of a traceback of ensurepip only the last line is shown."""
    machine.ensurepip_output = "Traceback (most recent call last):\nImportError: strange\n"
    assert sentence(course).startswith("pip could not be set up: ImportError: strange; ")


def test_a_missing_file_of_the_course_is_named(course, machine):
    """Where requirements.txt is missing, a sentence names it."""
    (course.ROOT / "requirements.txt").unlink()
    assert "requirements.txt" in sentence(course)


def test_ctrl_c_during_the_set_up_prints_no_traceback(course, machine, monkeypatch, capsys):
    """Ctrl-C ends with exit code 130 and a word on how to go on."""
    machine.venv_error = KeyboardInterrupt()
    assert course.main(["lab"]) == 130 and "Stopped" in capsys.readouterr().err

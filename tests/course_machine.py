"""A pretended computer for the tests of course.py: an interpreter in .venv and a pip that do as they are told."""

import errno
import importlib.util
import io
import shutil
import venv
from pathlib import Path
from types import SimpleNamespace

REPOSITORY = Path(__file__).resolve().parent.parent
INPUTS = ("requirements.txt", "constraints.txt", "pyproject.toml")


class Machine:
    """Stands for this computer: what the interpreter in .venv and pip do, and a record `done` of what they were asked."""

    def __init__(self, course, monkeypatch):
        self.done, self.folder = [], None
        self.interpreter = self.has_pip = self.new_enough = False  # is there a .venv that runs, has pip, and Python 3.11?
        self.version = "(3, 11)\n"
        self.venv_error = self.ensurepip_output = None
        self.pip_errors = []  # what each next call of pip prints before it fails; then it succeeds
        self.replace(course, monkeypatch)
        monkeypatch.setattr(venv, "EnvBuilder", self.builder)

    def replace(self, course, monkeypatch):
        """Let this module course.py run on the pretended computer."""
        self.course = course
        monkeypatch.setattr(course, "run", self.run)
        monkeypatch.setattr(course, "Popen", self.popen)
        monkeypatch.setattr(course, "hand_over", self.hand_over)

    def run(self, command, env, **_):
        """Be `subprocess.run`."""
        assert command[0] == self.course.PYTHON
        if not self.interpreter:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", command[0])
        if "ensurepip" in command and self.ensurepip_output:
            return SimpleNamespace(returncode=1, stdout=self.ensurepip_output)
        self.has_pip |= "ensurepip" in command
        fine = self.has_pip if "pip" in command else self.new_enough
        return SimpleNamespace(returncode=int(not fine), stdout=self.version)

    def builder(self, clear, symlinks, prompt):
        """Be `venv.EnvBuilder`."""
        return self

    def create(self, folder):
        """Be `venv.EnvBuilder.create`."""
        self.done.append("venv")
        if self.venv_error:
            raise self.venv_error
        Path(folder).mkdir(exist_ok=True)
        self.interpreter = self.new_enough = True

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
        self.folder = Path.cwd()
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


def checkout(folder, monkeypatch):
    """Return the module course.py of a checkout of its own, in a folder with a space and a letter beyond ASCII."""
    root = folder / "my cöurse"
    root.mkdir()
    shutil.copy(REPOSITORY / "course.py", root)
    for name in INPUTS:
        (root / name).write_text("# nothing\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    return load_course(root)

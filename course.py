"""Sets the course up and starts it. Usage: python course.py COMMAND

  lab                 open JupyterLab at the first notebook
  test [TESTS ...]    run every test, or those you name (arguments of pytest)
  run COMMAND ...     train, generate and more: "python course.py run --help" lists them

The first time, each of these sets up the course's own environment in the folder .venv. Later they start at once.
"""

import os
import re
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, run

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.sha256"  # written after a complete installation: a hash of what was asked for
WINDOWS, LINUX = os.name == "nt", sys.platform.startswith("linux")
PYTHON = str(VENV / ("Scripts/python.exe" if WINDOWS else "bin/python"))
SIZE = "2 GB of disk" + (" (6 GB if PyTorch comes with the libraries for NVIDIA GPUs)" if LINUX else "")
OFFLINE = "The packages could not be downloaded: connect to the internet (or set up your network's proxy), then run this again."
REMEDIES = {  # what Python, and pip since 2022, print, and what to do about it; the first that is found counts
    r"Errno 28\b|WinError 112\b|quota exceeded|No space left on device|No usable temporary directory":
        f"There is no room on the disk: free about {SIZE} and half as much in the temporary folder, then run this again.",
    r"Retry\(total=0|ReadTimeoutError|Connection broken|network connectivity|Wheel .* is invalid|DO NOT MATCH THE HASHES":
        OFFLINE,
    r"Errno (1|13|30)\b|WinError (5|32)\b":
        f"{ROOT} cannot be written: close what uses it, or copy the course to a folder of your own, then run this again.",
    r"No matching distribution found for torch":
        "PyTorch 2.13 is not made for this machine: take Python 3.11 to 3.14 on Linux, Windows or a Mac with Apple silicon.",
}  # fmt: skip


def remedy(text, otherwise):
    """Return the sentence that says what to do about an error of this text."""
    otherwise = otherwise.rstrip(".") + "; mend that, or delete the folder .venv, then run this again."
    return next((sentence for pattern, sentence in REMEDIES.items() if re.search(pattern, text)), otherwise)


def environment(outer):
    """Return the children's environment variables: as if .venv were activated, undisturbed by settings for other Pythons."""
    env = {k: v for k, v in outer.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    path = os.path.dirname(PYTHON) + os.pathsep + env.get("PATH", os.defpath)
    env.update(VIRTUAL_ENV=str(VENV), PATH=path, PIP_USER="0", **({"PYTHONUTF8": "1"} if WINDOWS else {}))
    if LINUX:
        env.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # memory in large pages: a training step is faster
    return env


def ask(env, *arguments):
    """Run the interpreter of .venv unseen and return its exit code, None if it does not start, and what it printed."""
    try:
        done = run([PYTHON, *arguments], env=env, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, encoding="utf-8", errors="replace")
        return done.returncode, done.stdout
    except OSError as error:
        return None, str(error)


def fingerprint(env):
    """Return a hash of all that decides what is installed, or None if the interpreter in .venv is missing or broken."""
    probe = "import sys; print(sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))"
    code, version = ask(env, "-I", "-S", "-c", probe)
    parts = [(ROOT / name).read_bytes() for name in ("requirements.txt", "constraints.txt", "pyproject.toml")]
    parts += [version, str(ROOT)]  # the folder too, which `-e .` records: it may have been moved
    return sha256(repr(parts).encode()).hexdigest() if code == 0 else None


def set_up(env):
    """Make .venv and install the packages, where that isn't done yet."""
    wanted = fingerprint(env)
    if wanted and STAMP.is_file() and STAMP.read_text(encoding="utf-8", errors="replace") == wanted:
        return
    if not wanted or ask(env, "-m", "pip", "--version")[0] != 0:
        print(f"Setting up. The first time this takes some minutes and about {SIZE}.", file=sys.stderr)
        make_venv(env)
        wanted = fingerprint(env)
    STAMP.unlink(missing_ok=True)
    install(env)
    STAMP.write_text(wanted, encoding="utf-8")


def make_venv(env):
    """Make .venv, in place of one that may be there."""
    for module in ("venv", "ensurepip"):
        if find_spec(module) is None:
            sys.exit(f"Python's module {module} is missing: install it (Debian: apt install python3-venv) and run this again.")
    from venv import EnvBuilder

    EnvBuilder(clear=True, symlinks=not WINDOWS, prompt="course").create(str(VENV))
    code, output = ask(env, "-m", "ensurepip", "--default-pip")
    if code != 0:
        sys.exit(remedy(output, "pip could not be set up: " + output.strip().rpartition("\n")[2]))


def install(env):
    """Install the packages with pip, all of its output on standard error, and try once more if the network fails."""
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-r", "requirements.txt"]
    for last in (False, True):
        with Popen(command, cwd=ROOT, env=env, stdout=2, stderr=PIPE, encoding="utf-8", errors="replace") as pip:
            errors = [line for line in pip.stderr if sys.stderr.write(line)]
        if pip.returncode == 0:
            return
        sentence = remedy("".join(errors), "pip could not install the packages, for the reason above")
        if last or sentence != OFFLINE:
            sys.exit("\n" + sentence)
        print("The network failed. Trying once more.", file=sys.stderr)


def hand_over(command, env):
    """Become the command; on Windows, where that is impossible, wait for it and return its exit code."""
    if not WINDOWS:
        os.execve(command[0], command, env)
    with Popen(command, env=env) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the child got it too, and decides
                continue


def main(arguments):
    """Do what the command line asks for and return the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - so that older ones get this far, the syntax is that of Python 3.6
        sys.exit("This is Python {}.{}: install Python 3.11 or newer (python.org) and use that.".format(*sys.version_info))
    name, rest = (arguments or [""])[0], arguments[1:]
    if name not in ("lab", "test", "run"):
        print(__doc__, file=sys.stdout if name in ("-h", "--help") else sys.stderr)
        return 0 if name in ("-h", "--help") else 2
    env = environment(os.environ)
    try:
        set_up(env)
        if name == "run":  # -P: a folder named helpers where the user stands is not the course's
            return hand_over([PYTHON, "-P", "-m", "helpers", *rest], env)
        os.chdir(str(ROOT))
        start = next(filter(os.path.exists, ("notebooks/00_start_here.ipynb", "notebooks")), "")
        module = ["jupyterlab", f"--LabApp.default_url=/lab/tree/{start}"] if name == "lab" else ["pytest"]
        return hand_over([PYTHON, "-m", *module, *rest], env)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        sys.exit(remedy(str(error), f"The set-up failed: {error}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The lists of packages: exact versions on every platform, nothing unused, no address; and what conda makes of them."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LISTS = ("requirements.txt", "constraints.txt", "lock.in", "environment.yml")

# Required without being imported by helpers, tests or course.py.
TOOLS = {
    "jupyterlab": "`python course.py lab` opens it",
    "ipywidgets": "the live panels of the notebooks",
    "matplotlib": "the figures of the notebooks",
    "ipdb": "the debugger session of notebook 03",
    "nbval": "runs the notebooks and compares their outputs (a plugin of pytest)",
    "nbstripout": "makes saved notebooks reproducible (a command)",
    "pytest-xdist": "runs the tests on several cores (a plugin of pytest)",
    "myst-nb": "makes pages of notebooks (an extension of Sphinx)",
    "sphinx-book-theme": "the look of the website",
    "sphinx-revealjs": "carries reveal.js, which shows the slides",
    "jupyter-server-mathjax": "carries MathJax, which sets the formulas on slides and pages",
    "axe-playwright-python": "carries axe-core, which judges whether pages can be read by everybody",
    "ruff": "checks and formats the code (a command)",
}
# Whose module is not called like the package, but for dashes.
MODULES = {"pyyaml": "yaml", "pytest-xdist": "xdist", "ipython": "IPython", "pillow": "PIL"}

PLATFORMS = {
    "Linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macOS": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


def module_of(package):
    """Return the name under which a package is imported."""
    return MODULES.get(package, package.replace("-", "_"))


def read_list(name):
    """Return the requirements in a file, without comments and pip's options."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def required():
    """Return the requirements of the course by name."""
    return {canonicalize_name(r.name): r for r in read_list("requirements.txt")}


def pins(environment):
    """Return the exact version of each package that constraints.txt gives for such a machine."""
    found = {}
    for line in read_list("constraints.txt"):
        if line.marker is None or line.marker.evaluate(environment):
            (only,) = line.specifier
            assert only.operator == "==" and "*" not in only.version, f"{line} is not one exact version"
            assert found.setdefault(canonicalize_name(line.name), only.version) == only.version, f"{line.name} has two versions"
    return found


def everything_below(names):
    """Return the names of the installed packages that these need, with themselves."""
    found, todo = set(), [(name, frozenset()) for name in names]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for r in map(Requirement, metadata.requires(name) or []):
            if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                todo.append((canonicalize_name(r.name), frozenset(r.extras)))
    return {name for name, _ in found}


def imported_modules():
    """Return the modules from outside that helpers, notebooks, tests and course.py import, each with a file that does."""
    files = [ROOT / "course.py", *(f for folder in ("helpers", "notebooks", "tests") for f in (ROOT / folder).rglob("*.py"))]
    ours = {"helpers", *(file.stem for file in files)}
    found = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            found |= {name.split(".")[0]: file.name for name in names}
    return {name: file for name, file in found.items() if name not in ours | sys.stdlib_module_names}


def test_conda_gets_python_and_pip_and_pip_gets_the_one_list():
    """environment.yml: Python and pip from conda-forge, everything else from requirements.txt."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    dependencies = ["python=3.11", "pip", {"pip": ["-r requirements.txt"]}]
    assert environment == {"name": "language-model-course", "channels": ["conda-forge"], "dependencies": dependencies}


def test_the_one_list_takes_its_versions_from_the_constraints_and_installs_the_helpers():
    """The options in requirements.txt are the constraints and the course itself, and lock.in holds every name but torch."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("-")] == ["-c constraints.txt", "-e ."]
    assert required().keys() - {"torch"} <= {canonicalize_name(r.name) for r in read_list("lock.in")}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_has_one_exact_version_on_every_platform(platform, python):
    """On Linux, macOS and Windows constraints.txt fixes all but torch, which requirements.txt fixes itself."""
    version = {"python_version": python, "python_full_version": f"{python}.4"}
    environment = {**default_environment(), **PLATFORMS[platform], **version}
    assert required().keys() - pins(environment).keys() == {"torch"}
    assert re.fullmatch(r"==\d+\.\d+\.\d+", str(required()["torch"].specifier))
    assert [r for name, r in required().items() if name != "torch" and r.specifier] == []


def test_the_installed_versions_are_the_fixed_ones():
    """Everything that the course needs, at whatever remove, is installed in its fixed version."""
    fixed = pins(default_environment())
    below = everything_below(required().keys() - {"torch"})
    assert {name: metadata.version(name) for name in below} == {name: fixed.get(name) for name in below}
    assert Version(metadata.version("torch")).public in str(required()["torch"].specifier)


@pytest.mark.parametrize("name", LISTS)
def test_no_list_names_an_address(name):
    """Where packages come from is the user's choice: no registry, link or repository in any list."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|index|find-links|trusted-host|\bgit\b| @ |file:", text)


def test_everything_imported_is_required():
    """Each import from outside the standard library belongs to a package that requirements.txt names."""
    packages = metadata.packages_distributions()
    for module, file in imported_modules().items():
        names = {canonicalize_name(name) for name in packages.get(module, [])}
        assert names & required().keys(), f"{file} imports {module}, which requirements.txt does not name"


def test_everything_required_is_used():
    """Nothing is installed that isn't used: it is imported somewhere, or is one of the tools above."""
    modules = imported_modules()
    unused = {name for name in required() if module_of(name) not in modules}
    assert unused - TOOLS.keys() == set(), "take it out of requirements.txt and lock.in, or name its use in TOOLS"
    assert TOOLS.keys() <= required().keys()


@pytest.mark.skipif(not os.environ.get("CI"), reason="takes minutes and gigabytes: set the variable CI=true to run it")
def test_what_conda_does_with_environment_yml(tmp_path):
    """As conda: a new environment, the pip list in a file beside environment.yml, its pip command; all is whole and imports."""
    checkout, environment, elsewhere = tmp_path / "checkout", tmp_path / "environment", tmp_path / "elsewhere"
    shutil.copytree(ROOT / "helpers", checkout / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*LISTS, "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    elsewhere.mkdir()
    pip_list = yaml.safe_load((checkout / "environment.yml").read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    (checkout / "condaenv.requirements.txt").write_text("\n".join(pip_list), encoding="utf-8")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    modules = [module_of(name) for name in required()]
    modules += [f"helpers.{file.stem}" for file in (ROOT / "helpers").glob("[!_]*.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    steps = [
        ([sys.executable, "-m", "venv", environment], tmp_path),
        ([python, "-m", "pip", "install", "-U", "-r", "condaenv.requirements.txt", "--exists-action=b"], checkout),
        ([python, "-m", "pip", "check"], elsewhere),
        ([python, "-c", "import " + ", ".join(modules)], elsewhere),
    ]
    try:
        for command, folder in steps:
            done = subprocess.run(command, cwd=folder, **pipes)
            assert done.returncode == 0, done.stdout[-4000:]
    finally:
        shutil.rmtree(environment, ignore_errors=True)

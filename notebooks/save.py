"""Execute notebooks and save them with their outputs, the same bytes every time: python notebooks/save.py FILE …

The outputs that a reader sees are these; `python course.py test` executes every notebook again and compares.
The glossary is made anew from the tables of terms at the end of each notebook, and the first code cell of each lecture,
which fetches the course in Colab, gets the address that stands in pyproject.toml.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
CLEAN = ["--keep-output", "--keep-count", "--keep-id"]
CLEAN += ["--extra-keys", "cell.metadata.execution metadata.language_info metadata.widgets"]
WIDGET = "application/vnd.jupyter.widget-view+json"
FETCH = """
# Does nothing where the course is installed. In Colab: fetches it, and installs the packages that are missing there.
import os
import subprocess
import sys
from importlib.util import find_spec

if find_spec("helpers") is None:
    address = "{address}"
    subprocess.run(["git", "clone", "--depth", "1", address, "course"], check=True)
    os.chdir("course")
    with open("requirements.txt", encoding="utf-8") as file:
        wanted = file.read().partition("# up to here")[0].split("\\n")
    names = [line.split("==")[0] for line in wanted if line[:1].isalpha()]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *names], check=True)
    sys.path.insert(0, os.getcwd())
"""


def fetch():
    """Return the code of the cell that fetches the course where it isn't installed."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return FETCH.format(address=project["urls"]["Repository"]).strip()


def prepare(path):
    """Write the cell that fetches the course into a lecture, as its first code cell."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.id != "fetch"]
    place = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    metadata = {"slideshow": {"slide_type": "skip"}, "tags": ["fetch"]}
    notebook.cells = [*cells[:place], nbformat.v4.new_code_cell(fetch(), id="fetch", metadata=metadata), *cells[place:]]
    nbformat.write(notebook, path)


def save(path):
    """Execute one notebook in place, keep a static picture instead of every live widget, and strip what changes."""
    if path.resolve().parent == FOLDER:
        prepare(path)
    env = {"OMP_NUM_THREADS": "1", **os.environ}
    convert = [sys.executable, "-m", "jupyter", "nbconvert", "--log-level=WARN", "--to", "notebook", "--inplace"]
    options = ["record_timing=False", "store_widget_state=False", "timeout=900"]
    run = [*convert, "--execute", *(f"--ExecutePreprocessor.{option}" for option in options), str(path)]
    subprocess.run(run, check=True, env=env)
    subprocess.run([*convert, "--coalesce-streams", str(path)], check=True, env=env)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.write(notebook, path)
    subprocess.run([sys.executable, "-m", "nbstripout", *CLEAN, str(path)], check=True)


def terms(path):
    """Return (term, meaning, [sections]) of every row in the tables "term | meaning | section" of a notebook."""
    rows = []
    for cell in nbformat.read(path, as_version=4).cells:
        _, *tables = re.split(r"^\| *term *\| *meaning *\| *section *\|$", cell.source, flags=re.MULTILINE)
        if cell.cell_type == "markdown" and tables:
            cells = re.findall(r"^\| *([^-\n].*?) *\| *(.+?) *\| *([^|\n]+?) *\|$", tables[0], re.MULTILINE)
            rows += [(term, meaning, re.findall(r"\d+\.\d+", section)) for term, meaning, section in cells]
    return rows


def glossary():
    """Return the text of glossary.md: the terms of all notebooks in alphabetical order, each with its first use."""
    lines = ["# Glossary", "", "Each term with the notebook and the section in which it is first used.", ""]
    lines += ["| term | meaning | first used |", "|---|---|---|"]
    rows = []
    for path in sorted(FOLDER.glob("0*.ipynb")):
        for term, meaning, sections in terms(path):
            rows.append((term.strip("`").casefold(), f"| {term} | {meaning} | [{sections[0]}]({path.name}) |"))
    return "\n".join([*lines, *(line for _, line in sorted(rows))]) + "\n"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for file in sys.argv[1:]:
        save(Path(file))
    (FOLDER / "glossary.md").write_text(glossary(), encoding="utf-8")

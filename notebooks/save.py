"""Execute notebooks and save them with their outputs, the same bytes every time: python notebooks/save.py FILE …

The outputs that a reader sees are these; `python course.py test` executes every notebook again and compares.
The glossary is made anew from the tables of terms at the end of each notebook.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
CLEAN = ["--keep-output", "--keep-count", "--keep-id"]
CLEAN += ["--extra-keys", "cell.metadata.execution metadata.language_info metadata.widgets"]
WIDGET = "application/vnd.jupyter.widget-view+json"


def save(path):
    """Execute one notebook in place, keep a static picture instead of every live widget, and strip what changes."""
    env = {"OMP_NUM_THREADS": "1", **os.environ}
    convert = [sys.executable, "-m", "jupyter", "nbconvert", "--log-level=WARN", "--to", "notebook", "--inplace"]
    options = ["record_timing=False", "store_widget_state=False", "timeout=600"]
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

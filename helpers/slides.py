"""Slides and handouts, made from the cells of the notebooks."""

import re
import shutil
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

from helpers.data import DATA

ROOT = DATA.parent
DECK = Path(__file__).parent / "deck"  # the template of the decks, their look and their layout
MATHJAX = ("MathJax.js", "LICENSE", "config", "extensions", "fonts", "jax")
IMPORTS = re.compile(r"\A(?:(?:import|from) .*\n+){4,}")  # what a slide leaves out of the code: a long list of imports,
DRAWING = re.compile(r"^fig\b[^=]*=.*", re.MULTILINE | re.DOTALL)  # and how a figure is drawn


def lectures(numbers=()):
    """Return the paths of the notebooks with these numbers, such as "02" or "2"; without numbers, of all. Raises ValueError."""
    paths = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    for number in numbers:
        if number.zfill(2) not in paths:
            raise ValueError(f"There is no notebook {number}: there are {', '.join(paths)}.")
    return [paths[number.zfill(2)] for number in numbers] or list(paths.values())


def projected(source):
    """Return the code of a cell as it stands on a slide: short, without imports and the drawing of figures."""
    source, drawn = DRAWING.subn("# … and the figure", IMPORTS.sub("", source))
    return "" if drawn and source.count("\n") < 3 else re.sub(r"\n{3,}", "\n\n", source)


def in_pieces(output, most=26):
    """Return an output in pieces, so that a long text need not stand in one view: cut where a line is empty, if any is."""
    lines = output.get("text", "").split("\n")
    if len(lines) <= most:
        return [output]
    empty = [i for i in range(1, most) if not lines[i].strip()]
    end = empty[-1] if empty else most
    head, tail = ({**output, "text": "\n".join(part)} for part in (lines[:end], lines[end:]))
    return [type(output)(head), *in_pieces(type(output)(tail), most)]


def make_deck(path, out):
    """Write the slides of the notebook at `path` to the folder `out`, and return the path of the deck."""
    import nbformat  # here and below: the other commands need not wait for it
    from nbconvert.exporters import SlidesExporter

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.title = notebook.cells[0].source.split("\n")[0].lstrip("# ")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(".ipynb)", ".html)")  # a link to another lecture leads to its slides
        else:
            cell.source = projected(cell.source)
            cell.outputs = [piece for output in cell.outputs for piece in in_pieces(output)]
    body, _ = SlidesExporter(template_file=str(DECK / "deck.html.j2"), exclude_anchor_links=True).from_notebook_node(notebook)
    deck = Path(out) / f"{Path(path).stem}.html"
    deck.write_text(body, encoding="utf-8")
    return deck


def copy_assets(out):
    """Copy all that the decks need from the installed packages to out/assets, so that they ask for nothing outside."""
    from pygments.formatters import HtmlFormatter

    assets = Path(out) / "assets"
    reveal = Path(find_spec("sphinx_revealjs").origin).parent / "_static" / "revealjs"
    mathjax = Path(find_spec("jupyter_server_mathjax").origin).parent / "static"
    sources = {DECK / name: name for name in ("deck.css", "deck.js")}
    sources |= {reveal / name: f"reveal/{name}" for name in ("LICENSE", "dist", "plugin/notes")}
    sources |= {mathjax / name: f"mathjax/{name}" for name in MATHJAX}
    for source, name in sources.items():
        target = assets / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.map"))
        else:
            shutil.copyfile(source, target)
    style = HtmlFormatter(style="a11y-light").get_style_defs(".highlight")
    (assets / "code.css").write_text(style, encoding="utf-8")


def handout(notebook):
    """Return a notebook as students get it: nothing executed, without notes, solutions and cells of the instructor."""
    notebook, withheld = deepcopy(notebook), {"instructor", "solution"}
    notebook.cells = [
        cell
        for cell in notebook.cells
        if cell.metadata.get("slideshow", {}).get("slide_type") != "notes" and not withheld & set(cell.metadata.get("tags", []))
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def make_handout(number, out=None):
    """Write the handout of one notebook to a file (handouts/NAME.ipynb), and return its path. Raises ValueError."""
    import nbformat

    (path,) = lectures([number])
    out = Path(out or ROOT / "handouts" / path.name)
    if out.resolve() == path.resolve():
        raise ValueError(f"{out} is the notebook itself: name another file.")
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(handout(nbformat.read(path, as_version=4)), out)
    return out


def add_commands(command):
    """Add the commands of this module to the command line."""

    def slides(args):
        paths, out = lectures(args.numbers), Path(args.out)
        copy_assets(out)
        for path in paths:
            print(make_deck(path, out))

    def handout(args):
        print(make_handout(args.number, args.out))

    c = command(slides, "make the slides of the lectures, to be opened in a browser")
    c.add_argument("numbers", nargs="*", metavar="NN", help="number of a notebook, such as 02 (all)")
    c.add_argument("--out", default=ROOT / "slides", help="folder of the decks (slides)")
    c = command(handout, "write a notebook for students: without outputs, notes and solutions")
    c.add_argument("number", metavar="NN", help="number of the notebook, such as 02")
    c.add_argument("--out", help="file to write (handouts/NAME.ipynb)")

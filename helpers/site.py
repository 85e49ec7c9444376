"""The course as a website: a book of notebooks, glossary, helpers and guides, without a request to anywhere else.

Sphinx builds it with myst-nb from the saved outputs; its settings are in helpers/book. What is added on the way: links
between each helper and the section in which it was built, from the glossary to sections, and the notebooks' alt texts.
"""

import ast
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = Path(__file__).parent / "book"  # Sphinx's settings, and what is ours in the look of the pages
PARTS = {  # the parts of the book, in order, and the files of each
    "The course": ["notebooks/0*.ipynb", "notebooks/glossary.md"],
    "The code": ["helpers/index.md"],
    "Data and model": ["data/README.md", "data/pretrained/README.md"],
    "Solutions": ["notebooks/solutions/*.md", "notebooks/solutions/*.ipynb"],
    "Teaching": ["notebooks/instructor/*.md"],
    "Contributing": ["CONTRIBUTING.md"],
}
MODULES = """tokenizer data wikipedia attention block gpt recipe training checkpoint monitoring landmarks evaluation generation
    presets device plots panels checks grading transcripts doctor bench site slides""".split()  # as one meets them; then others
SECTION = re.compile(r"^## (\d+\.\d+) (.+)$", re.MULTILINE)
CITED = re.compile(r'(?<![\w.-])(0\d)(?:, "([^"]+)")?(?![\w"]|\.\d)')  # in a docstring: notebook 02, "The causal mask"


def build(out):
    """Build the website into the folder `out`. Raises ValueError if the folder holds other things, or if anything is amiss."""
    from sphinx.cmd.build import main

    out = Path(out).resolve()
    if out.exists() and not (out.is_dir() and ((out / ".buildinfo").exists() or not any(out.iterdir()))):
        raise ValueError(f"{out} is there already and is no website of this course: name another folder with --out.")
    with tempfile.TemporaryDirectory() as folder:
        source, html = Path(folder, "source"), Path(folder, "html")
        prepare(source)
        options = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(BOOK), "-d", str(Path(folder, "doctrees"))]
        if main([*options, str(source), str(html)]):
            raise ValueError("The website was not built: mend what the lines above name.")
        for notebook in (html / "_sources").rglob("*.ipynb"):  # to download: the notebook itself, not the copy with links
            shutil.copyfile(ROOT / notebook.relative_to(html / "_sources"), notebook)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(html, out)


def prepare(source):
    """Write everything that Sphinx reads into the folder `source`: the layout is that of the project."""
    (source / "helpers").mkdir(parents=True)
    api(source / "helpers")
    contents = ""
    for part, patterns in PARTS.items():
        files = [file for pattern in patterns for file in sorted(ROOT.glob(pattern))]
        for file in files:
            copy(file, source)
        pages = [file.relative_to(ROOT).with_suffix("").as_posix() for file in files]
        pages += ["helpers/index"] if "helpers/index.md" in patterns else []
        contents += f"\n```{{toctree}}\n:hidden:\n:caption: {part}\n\n" + "\n".join(pages) + "\n```\n" if pages else ""
    front = relink((ROOT / "README.md").read_text(encoding="utf-8"), ROOT, source)
    (source / "index.md").write_text(front + contents, encoding="utf-8")


def copy(file, source):
    """Copy a page of Markdown or a notebook into the folder `source`, with its links."""
    import nbformat

    target = source / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".md":
        text = relink(file.read_text(encoding="utf-8"), file.parent, source)
        if file.name == "glossary.md":
            text = re.sub(r"\[(\d+\.\d+)\]\([^)]+\)", r"[\1](#section-\1)", text)
        target.write_text(text, encoding="utf-8")
        return
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, file.parent, source)
        pictures = [output.metadata.alt for output in cell.get("outputs", []) if "alt" in output.get("metadata", {})]
        if pictures:
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(pictures)}}
    if file.parent == ROOT / "notebooks":
        cross_link(notebook)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(notebook, target)


def cross_link(notebook):
    """Give every section of a notebook a name to link to, and every definition that went into the helpers a link there."""
    import nbformat

    cells, seen = [], set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = SECTION.sub(r"(section-\1)=\n\g<0>", cell.source)
        names = built(cell)
        if names:
            labels = "".join(f"(built-{name})=\n" for name in names if name not in seen)
            links = ", ".join(f"{{py:obj}}`{name}`" for name in names)
            cells.append(nbformat.v4.new_markdown_cell(f"{labels}\nIn the helpers: {links}"))
            seen.update(names)
        cells.append(cell)
    notebook.cells = cells


def built(cell):
    """Return the full names of what a cell of a notebook defines that stands in the helpers too."""
    module = cell.metadata.get("helper")
    body = ast.parse(cell.source).body if module else []
    return [f"{module}.{node.name}" for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


@cache
def sections():
    """Return {"02": {title: number of its section}} and {"helpers.attention.attention": number of the section}."""
    import nbformat

    titles, helpers = {}, {}
    for file in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        own = titles[file.name[:2]] = {None: None}
        number = None
        for cell in nbformat.read(file, as_version=4).cells:
            for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
                found = SECTION.match(line)
                number = found[1] if found else number
                if found or line.startswith("### "):
                    own[found[2] if found else line[4:]] = number
            for name in built(cell):
                helpers.setdefault(name, number)
    return titles, helpers


def link_docstring(app, what, name, obj, options, lines):
    """Turn the sections of notebooks that a docstring cites into links (a hook of Sphinx, which alters `lines`)."""
    titles, helpers = sections()

    def link(found):
        notebook, title = found.groups()
        if notebook not in titles:
            return found[0]
        if title not in titles[notebook]:
            raise ValueError(f"{name} cites notebook {notebook}, {title!r}: there is no such section.")
        if title is None:
            page = next((ROOT / "notebooks").glob(f"{notebook}*.ipynb")).stem
            return f":doc:`{notebook} </notebooks/{page}>`"
        return f':ref:`{notebook}, "{title}" <section-{titles[notebook][title]}>`'

    text = "\n".join(lines).replace("\\", r"\\").replace("*", r"\*")  # these docstrings have no emphasis
    cited = CITED.sub(link, text)
    if name in helpers and cited.count(":ref:`") == 0:
        number = helpers[name]
        cited += f"\n\nBuilt in :ref:`notebook 0{number[0]}, section {number} <built-{name}>`."
    lines[:] = cited.splitlines()


def api(folder):
    """Write a page for each module of the helpers, and one that lists them, with the first sentence of each."""
    files = {file.stem: file for file in sorted((ROOT / "helpers").glob("*.py")) if file.stem != "__init__"}
    files |= {file.parent.name: file for file in sorted((ROOT / "helpers").glob("*/__init__.py"))}
    names = [name for name in MODULES if name in files] + [name for name in files if name not in MODULES]
    rows = [
        "# The helpers",
        "",
        "The finished code of every part, one module for each, in the order in which they are built.",
        "",
    ]
    rows += ["| module | what it holds |", "|---|---|"]
    for name in names:
        title = f"``helpers.{name}``"
        doc = ast.get_docstring(ast.parse(files[name].read_text(encoding="utf-8")))
        rows.append(f"| [`helpers.{name}`]({name}.rst) | {' '.join(doc.partition(chr(10) * 2)[0].split())} |")
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: helpers.{name}\n   :members:\n   :member-order: bysource\n\n"
        text += f"The source\n----------\n\n.. literalinclude:: {name}.py\n"
        shutil.copyfile(files[name], folder / f"{name}.py")
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    rows += ["", "```{toctree}", ":hidden:", "", *names, "```", ""]
    (folder / "index.md").write_text("\n".join(rows), encoding="utf-8")


def relink(text, folder, source):
    """Return Markdown with its relative links led to pages of the site, and copy the other files that it links to."""

    def link(found):
        address, hash, anchor = found[2].partition("#")
        target = (folder / address).resolve()
        if not address or re.match(r"\w+:", address) or not target.is_relative_to(ROOT):
            return found[0]
        page = place(target, source)
        steps = Path(*[".."] * len(folder.relative_to(ROOT).parts)) / page
        return f"{found[1]}{steps.as_posix()}{hash}{anchor}{found[3]}"

    return re.sub(r"(\]\()([^)\s]+)(\))", link, text)


def place(target, source):
    """Return where in the source of the site a file or folder of the project is found, and copy it there if need be."""
    path = target.relative_to(ROOT)
    if path == Path("README.md") or target == ROOT:
        return Path("index.md")
    if path == Path("helpers"):
        return Path("helpers/index.md")
    if path.parent == Path("helpers") and path.suffix == ".py":
        return path.with_suffix(".rst")
    if target.is_dir():
        own = [file for name in ("README.md", "*.md", "*.ipynb") for file in sorted(target.glob(name))]
        return path / own[0].name if own else listing(target, source / path / "README.md").relative_to(source)
    pages = [pattern for patterns in PARTS.values() for pattern in patterns]
    if target.is_file() and not any(path.match(pattern) for pattern in pages):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, source / path)
    return path


def listing(folder, page):
    """Write a page with the names of the files of a folder that has no page of its own, and return its path."""
    page.parent.mkdir(parents=True, exist_ok=True)
    names = "\n".join(f"- `{file.name}`" for file in sorted(folder.iterdir()) if file.is_file())
    page.write_text(f"---\norphan: true\n---\n# `{folder.name}/`\n\n{names}\n", encoding="utf-8")
    return page


def add_command(command):
    """Add the command of this module; command: makes the parser of a command from a function and its help."""

    def site(args):
        build(args.out)
        print(f"Built the website: open {Path(args.out) / 'index.html'}")

    c = command(site, "build the website of the course: notebooks, glossary, helpers, guides")
    c.add_argument("--out", default=ROOT / "site", help="the folder to write (site)")

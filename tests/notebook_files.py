"""What the notebooks promise beyond running: claims tied to values, definitions equal to the helpers', tags kept."""

import ast
import copy
import importlib
import io
import re
import tokenize
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("0*.ipynb"))
NUMBER = re.compile(r"(?<![\w.,/-])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?!\w)")
# What is no claim: code, formulas, addresses, HTML, the numbering of headings and lists, notebooks, years of papers.
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|\]\([^)]*\)|<[^>]+>"
    r"|^#+ [\d.]+|^ *\d+\. |\bHint \d\b|[Nn]otebooks? \d\d\b(?:(?:, | and | to )\d\d\b)*|\*\*\d\d\*\*|\b(?:19|20)\d\d\b",
    re.DOTALL | re.MULTILINE,
)


def read(path):
    """Return the notebook at `path`."""
    return nbformat.read(path, as_version=4)


def plain(number):
    """Return a number as it is compared: without thousands separators, and without zeros that say nothing."""
    number = number.replace(",", "").rstrip(".")
    return number.rstrip("0").rstrip(".") if "." in number else number


def claimed(cell):
    """Return the numbers that the prose of a markdown cell states."""
    return [plain(n) for n in NUMBER.findall(NOT_PROSE.sub(" ", cell.source))]


def output_text(cell):
    """Return what a code cell printed and displayed, as text."""
    parts = []
    for output in cell.get("outputs", []):
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(parts)


def computed(cell):
    """Return the numbers that a code cell printed, or that stand in its code (not in its comments or strings)."""
    code = "\n".join(line for line in cell.source.split("\n") if not line.startswith(("%", "!")))
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    literals = [token.string.replace("_", "") for token in tokens if token.type == tokenize.NUMBER]
    return {plain(n) for n in [*literals, *re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", output_text(cell))]}


def sections(notebook):
    """Return the cells in groups, one for each heading of the second level."""
    groups = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            groups.append([])
        groups[-1].append(cell)
    return groups


def untied_claims(notebook):
    """Return (cell id, number) of every number in prose that no value backs.

    A number is backed by a code cell of the same section that prints or asserts it, or by the entry "claims" in the
    metadata of its cell: {"1,024": "cell:ID"} for a value in another section, {"1,024": "source: …"} for a fact from
    elsewhere, {"45": "plan: …"} for what we intend (minutes to teach).
    """
    by_id, faults = {cell.id: cell for cell in notebook.cells}, []
    for group in sections(notebook):
        values = set().union(*(computed(cell) for cell in group if cell.cell_type == "code"))
        for cell in (cell for cell in group if cell.cell_type == "markdown"):
            declared = {plain(n): why for n, why in cell.metadata.get("claims", {}).items()}
            for number in claimed(cell):
                why = declared.get(number, "")
                kind, _, where = why.partition(":")
                elsewhere = kind == "cell" and where in by_id and number in computed(by_id[where])
                if not (number in values or elsewhere or (kind in ("source", "plan") and where.strip())):
                    faults.append((cell.id, number))
    return faults


def definitions(notebook):
    """Return {"helpers.module.name": syntax tree} of what the cells with the metadata "helper" define.

    A class may go on in the next cell as `class X(X):`; its parts are put together. A function whose helper is a
    class ("helpers.tokenizer.Tokenizer") is a method of it.
    """
    found = {}
    for cell in notebook.cells:
        module = cell.metadata.get("helper")
        if not module:
            continue
        for node in ast.parse(cell.source).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            key = f"{module}.{node.name}"
            continues = isinstance(node, ast.ClassDef) and [getattr(b, "id", "") for b in node.bases] == [node.name]
            if continues:
                found[key].body.extend(node.body)
            else:
                found[key] = node
    return found


def helper_tree(key):
    """Return the syntax tree of the definition "helpers.module.name" or "helpers.module.Class.method"."""
    parts = key.split(".")
    source = Path(importlib.import_module(".".join(parts[:2])).__file__).read_text(encoding="utf-8")
    node = ast.parse(source)
    for name in parts[2:]:
        node = next(n for n in node.body if getattr(n, "name", "") == name)
    return node


def tree(node):
    """Return a definition's syntax tree as text; a docstring counts without its indentation."""
    node = copy.deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(part) is not None:
            part.body[0].value.value = ast.get_docstring(part)
    return ast.dump(node)

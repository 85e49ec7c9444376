"""The notebooks: executed in order, saved as they ran, their claims tied, their definitions those of the helpers."""

import ast
import copy
import os
import re
import subprocess
import sys

import nbformat
import pytest
from notebook_files import NOTEBOOKS, ROOT, SOLUTIONS, claimed, definitions, helper_tree, output_text, read, tree, untied_claims

sys.path.insert(0, str(ROOT / "notebooks"))
from save import CLEAN, glossary, terms

SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "notes", "-"}
IGNORED = {"nbval-ignore-output"}
FORBIDDEN = {"nbval-skip", "skip-execution", "nbval-check-output"}
# Where each definition that a docstring assigns to a notebook is built.
BUILT_IN = {
    "00": set(),
    "01": {"helpers.tokenizer.train_tokenizer", "helpers.tokenizer.Tokenizer.encode_batch",
           "helpers.tokenizer.Tokenizer.decode", "helpers.data.is_validation"},
    "02": {"helpers.attention.causal_mask", "helpers.attention.attention_weights", "helpers.attention.attention",
           "helpers.attention.CausalSelfAttention"},
    "03": {"helpers.block.FeedForward", "helpers.block.Block"},
    "04": {"helpers.gpt.GPTConfig", "helpers.gpt.GPT"},
    "05": {"helpers.data.Batches", "helpers.gpt.ChunkedCrossEntropy", "helpers.recipe.make_optimizer",
           "helpers.recipe.learning_rate", "helpers.training.evaluate"},
    "06": {"helpers.generation.LayerCache", "helpers.generation.KVCache", "helpers.generation.next_token_probs",
           "helpers.generation.stream_tokens", "helpers.generation.generate", "helpers.generation.stream_text"},
}  # fmt: skip

# The least and the most that a notebook may have; 00, which only opens the course, is shorter.
CELLS, SLIDES = {"00": (30, 66)}, {"00": (15, 30)}

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
with_solutions = pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@with_solutions
def test_every_cell_was_executed_once_in_order_without_error(path):
    """The saved outputs are those of one run from top to bottom, by the kernel python3."""
    notebook = read(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in cells:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", []), cell.source


@with_solutions
def test_saved_as_the_tool_saves(path):
    """`nbstripout --verify` finds nothing that changes from run to run."""
    command = [sys.executable, "-m", "nbstripout", "--verify", *CLEAN, str(path)]
    assert subprocess.run(command, capture_output=True).returncode == 0


@with_solutions
def test_at_least_85_percent_of_the_cells_are_compared_and_the_rest_asserted(path):
    """No cell is skipped; what cannot be compared exactly is followed by an assertion within two code cells."""
    cells = code_cells(path)
    tags = [set(cell.metadata.get("tags", [])) for cell in cells]
    assert not any(tag & FORBIDDEN for tag in tags)
    free = [i for i, tag in enumerate(tags) if tag & IGNORED]
    assert len(free) <= 0.15 * len(cells), f"{len(free)} of {len(cells)} cells are not compared"
    for i in free:
        asserts = [n for c in cells[i : i + 2] for n in ast.walk(ast.parse(no_magic(c))) if isinstance(n, ast.Assert)]
        assert asserts, f"no assertion on the value of cell {cells[i].id}"


def no_magic(cell):
    return re.sub(r"^([%!].*)$", "pass", cell.source, flags=re.MULTILINE)


@with_solutions
def test_every_number_in_prose_is_tied_to_a_value(path):
    """See `untied_claims`: printed or asserted in the same section, or referred to in the cell's metadata."""
    untied = untied_claims(read(path))
    assert untied == [], "(cell, number): print it, or assert it, or declare it in the cell's claims (CONTRIBUTING.md)"


@with_solutions
def test_what_is_declared_a_plan_is_no_fact(path):
    """Minutes that we plan for, settings to try, and the numbers of sections and exercises that exist; nothing else."""
    cells = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    headings = {n for c in cells for n in re.findall(r"^##+ (?:Exercise )?(\d+\.\d+)", c.source, re.MULTILINE)}
    plans = [item for c in cells for item in c.metadata.get("claims", {}).items() if item[1].startswith("plan")]
    assert [p for p in plans if p[0] not in headings and not re.search("minute|setting", p[1])] == []


@with_solutions
def test_a_number_that_parts_from_its_value_is_noticed(path):
    """Each number of the prose in turn is altered, and `untied_claims` must find it."""
    notebook = read(path)
    missed = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        source = cell.source
        for number in dict.fromkeys(claimed(cell)):
            if number in {c.replace(",", "") for c in cell.metadata.get("claims", {})}:
                continue
            cell.source = f"{source}\n\n{number}777"
            if (cell.id, f"{number}777") not in untied_claims(notebook):
                missed.append((cell.id, number))
            cell.source = source
    assert missed == []


@with_solutions
def test_every_figure_has_an_alt_text(path):
    """In the output's metadata and as its plain text, so that every rendering can carry it."""
    for cell in code_cells(path):
        for output in cell.outputs:
            pictures = {"image/png", "image/svg+xml"} & set(output.get("data", {}))
            for kind in pictures:
                assert len(output.metadata[kind]["alt"].split()) >= 5, cell.source
                assert output.data["text/plain"].strip() == output.metadata[kind]["alt"].strip()


@notebooks
def test_every_cell_knows_its_place_on_the_slides(path):
    """25 to 45 slides (notebook 00: 15 to 30), and a slide type on every cell."""
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in read(path).cells]
    assert set(kinds) <= SLIDE_TYPES
    least, most = SLIDES.get(path.stem[:2], (25, 45))
    assert least <= sum(kind in ("slide", "subslide") for kind in kinds) <= most


@notebooks
def test_measures_of_form(path):
    """No code cell over 40 lines, no prose cell over 200 words, 60 to 150 cells (notebook 00: 30 to 66)."""
    cells = read(path).cells
    least, most = CELLS.get(path.stem[:2], (60, 150))
    assert least <= len(cells) <= most
    for cell in cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 40, cell.source
        else:
            assert len(cell.source.split()) <= 200, cell.source
        assert not re.search(r"/home/|/tmp/|/work/|C:\\\\", cell.source + output_text(cell)), cell.id


@notebooks
def test_definitions_equal_those_of_the_helpers(path):
    """The drift test: the same syntax tree, docstrings included, for every definition that the notebook builds."""
    found = definitions(read(path))
    assert set(found) == BUILT_IN[path.stem[:2]]
    for key, node in found.items():
        assert tree(node) == tree(helper_tree(key)), key


@notebooks
def test_every_term_has_its_section(path):
    """The table of terms names sections that exist, and the words of each term are found in the notebook's prose."""
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    numbers = {m for source in cells for m in re.findall(r"^## (\d+\.\d+)", source, re.MULTILINE)}
    rows = terms(path)
    assert len(rows) >= 5
    assert {section for _, _, sections in rows for section in sections} <= numbers
    prose = " ".join(source for source in cells if "| term | meaning |" not in source).casefold()
    for term, _, _ in rows:
        for word in re.findall(r"[^\W\d_]+", term.casefold()):
            assert word[:6] in prose, term


def test_the_glossary_is_complete():
    """glossary.md holds every term of every notebook, with the place of its first use: as `notebooks/save.py` writes it."""
    assert (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8") == glossary()


def test_drift_is_noticed():
    """A definition with one constant changed has another tree."""
    notebook = copy.deepcopy(next(n for n in map(read, NOTEBOOKS) if definitions(n)))
    key, node = next(iter(definitions(notebook).items()))
    node.body.append(ast.Pass())
    assert tree(node) != tree(helper_tree(key))


def test_untied_claims_on_a_notebook_made_by_hand():
    """Printed, asserted, referred and external numbers pass; a wrong one, a wrong reference and an empty reason do not."""
    notebook = nbformat.v4.new_notebook()
    code, other = nbformat.v4.new_code_cell("assert x == 1234"), nbformat.v4.new_code_cell("y = 7.50  # not 88")
    good = nbformat.v4.new_markdown_cell("## One\nIt is 1,234, by `99` in $3+4$, [see](http://a/5), Notebook 02, 2017, and 50.")
    good.metadata["claims"] = {"50": "source: the paper"}
    bad = nbformat.v4.new_markdown_cell("## Two\nIt is 1,234 and 7.5, and 88, and 6, and 60.")
    bad.metadata["claims"] = {"6": "cell:" + code.id, "60": "source:"}
    notebook.cells = [good, code, bad, other]
    assert untied_claims(notebook) == [(bad.id, "1234"), (bad.id, "88"), (bad.id, "6"), (bad.id, "60")]
    bad.metadata["claims"]["1,234"] = "cell:" + code.id
    assert (bad.id, "1234") not in untied_claims(notebook)


def test_the_network_is_refused_and_a_changed_output_is_noticed(tmp_path):
    """A notebook that reaches out fails, and so does one whose saved output is not what the cell prints; another passes."""
    sources = {
        "out": ('import socket\nsocket.create_connection(("192.0.2.1", 80), timeout=1)', ""),
        "changed": ("print(1 + 1)", "3\n"),
        "good": ("print(1 + 1)", "2\n"),
    }
    for name, (source, text) in sources.items():
        cell = nbformat.v4.new_code_cell(source, execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "x"}})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "notebooks")}
    options = ["-n0", "-p", "conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, *(str(tmp_path / f"{name}.ipynb") for name in sources)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, cwd=ROOT)
    assert "The network is refused in this run" in done.stdout
    assert "2 failed, 1 passed" in done.stdout

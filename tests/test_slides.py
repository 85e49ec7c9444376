"""The slides, looked at in a real browser: every view of every deck fits, is large enough and asks for nothing outside."""

import base64
import copy
import io
import re

import nbformat
import pytest
from browser import open_page
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_files import NOTEBOOKS, ROOT, read
from PIL import Image

from helpers.__main__ import main
from helpers.slides import copy_assets, handout, make_deck, projected

pytest_plugins = ["browser"]
# The least size of letters, in pixels of a canvas of 1280 × 800, and the least scale of a figure.
LEAST = {"text": 19, "code": 14, "figure": 0.5}
SLIDES = {"00": (15, 30)}  # how many there may be; in the others 25 to 45

# Goes through a deck from view to view, and returns what is wrong as "slide: what (cell)".
LOOK = r"""least => {
  const faults = new Set(), eyes = document.createElement("style");
  eyes.textContent = "* { transition: none !important }";
  document.head.append(eyes);
  document.querySelectorAll("details").forEach(answer => answer.open = true);
  const letters = e => parseFloat(getComputedStyle(e).fontSize);
  const look = () => {
    const slide = Reveal.getCurrentSlide(), room = slide.getBoundingClientRect(), style = getComputedStyle(slide);
    const seen = [...slide.querySelectorAll(".heading, .part, .part *")].filter(
      e => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !e.parentElement.closest(".MathJax"));
    const fault = (what, e) => faults.add(`${Reveal.getSlidePastCount() + 1}: ${what} (${e.closest("[data-id]")?.dataset.id})`);
    if (!seen.some(e => e.matches(".part"))) fault("nothing to see", slide);
    for (const e of seen) {
      const box = e.getBoundingClientRect();
      if (box.bottom > Math.min(room.bottom, innerHeight) - 20) fault("below the fold", e);
      if (box.right > room.right - parseFloat(style.paddingRight) + 1.5 || box.left < room.left) fault("cut at the side", e);
      if (e.matches("pre, code, td, th") && letters(e) < least.code) fault("small code", e);
      if (e.matches(".text :is(p, li, div)") && letters(e) < least.text) fault("small text", e);
      if (e.matches(".figure img")) {
        if (!e.src.includes("svg") && box.width < least.figure * e.naturalWidth) fault("small figure", e);
        if (!(e.alt.length > 20)) fault("no alt text", e);
      }
    }
    const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    for (let t = texts.nextNode(); t; t = texts.nextNode())
      if (!t.parentElement.closest("pre, code, script") && /\$|Math Processing Error/.test(t.data)) fault("raw math", slide);
  };
  for (look(); !Reveal.isLastSlide() || Reveal.availableFragments().next; look()) Reveal.next();
  return [...faults];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for decks, with all that they need."""
    out = tmp_path_factory.mktemp("slides")
    copy_assets(out)
    return out


def show(page, deck):
    """Open a deck as a double click does, and wait until it is laid out."""
    page.goto(deck.as_uri())
    page.wait_for_function("() => window.Reveal?.isReady()", timeout=300_000)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_can_be_read(path, folder, chromium):
    """Nothing overflows in any view, letters are large, math is typeset; title, notes and the number of slides are right."""
    cells = read(path).cells
    notes = [c for c in cells if c.metadata.get("slideshow", {}).get("slide_type") == "notes"]
    with open_page(chromium, 1280, 800) as page:
        show(page, make_deck(path, folder))
        assert page.evaluate(LOOK, LEAST) == []
        title = cells[0].source.split("\n")[0].removeprefix("# ")
        assert page.title() == f"{title} · slides" and page.locator("section.title h1").text_content() == title
        assert page.locator("aside.notes").count() == len(notes) >= 1
        least, most = SLIDES.get(path.stem[:2], (25, 45))
        assert least <= page.evaluate("Reveal.getTotalSlides()") <= most
        assert page.locator(".MathJax").count() > 3


def picture(width, height, alt):
    """Return a code cell that shows a picture of this size."""
    data = io.BytesIO()
    Image.new("RGB", (width, height)).save(data, "PNG")
    output = new_output("display_data", {"image/png": base64.b64encode(data.getvalue()).decode()})
    output.metadata["image/png"] = {"alt": alt}
    return new_code_cell("show()", outputs=[output])


ALT = "A black rectangle, which stands for a figure."
BROKEN = {
    "below the fold": new_code_cell("\n".join(f"x = {i}" for i in range(60))),
    "cut at the side": new_code_cell(f"x = '{'a' * 300}'"),
    "small text": new_markdown_cell('<div style="font-size: 10px">small</div>'),
    "small code": new_markdown_cell('<table><tr><td style="font-size: 10px">small</td></tr></table>'),
    "small figure": picture(400, 2000, ALT),
    "no alt text": picture(400, 200, ""),
    "raw math": new_markdown_cell("It costs 5 $ a day."),
    "nothing to see": new_markdown_cell("### A heading"),
}


@pytest.mark.parametrize("fault", [None, *BROKEN])
def test_a_slide_that_cannot_be_read_is_found(fault, folder, chromium):
    """Of two slides the second has a fault, and this fault is found, no other; without one, none is found."""
    cells = [new_markdown_cell("# A title\n\nAnd a text with $x^2$."), BROKEN.get(fault, picture(400, 200, ALT))]
    cells[1].metadata["slideshow"] = {"slide_type": "slide"}
    path = folder / "broken.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    with open_page(chromium, 1280, 800) as page:
        show(page, make_deck(path, folder))
        found = page.evaluate(LOOK, LEAST)
        assert {what.partition(" (")[0] for what in found} == ({f"2: {fault}"} if fault else set())


def test_a_request_to_the_outside_is_found(folder, chromium):
    """A picture from the web in a cell makes the test of its deck fail."""
    path = folder / "outside.ipynb"
    cell = new_markdown_cell("# A title\n\n<video src='https://example.org/a.mp4'></video>")
    nbformat.write(new_notebook(cells=[cell]), path)
    with pytest.raises(AssertionError, match=r"outside request: https://example\.org"), open_page(chromium, 1280, 800) as page:
        show(page, make_deck(path, folder))


def test_the_speaker_sees_the_notes(folder, chromium):
    """The key s opens a window that shows the notes of the present slide."""
    notes = new_markdown_cell("Ask the *room* first.", metadata={"slideshow": {"slide_type": "notes"}})
    path = folder / "notes.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A title\n\nText."), notes]), path)
    with open_page(chromium, 1280, 800) as page:
        show(page, make_deck(path, folder))
        assert not page.get_by_text("Ask the room first.").is_visible()
        with page.context.expect_page() as opened:
            page.keyboard.press("s")
        value = opened.value.locator(".speaker-controls-notes .value")
        value.get_by_text("Ask the room first.").wait_for()


def test_steps_and_what_is_left_out(folder, chromium):
    """What is too much for one view comes in steps; skipped cells, imports and drawing are not shown."""
    assert projected("import a\nimport b\nfrom c import d\nimport e\n\nx = 1") == "x = 1"
    assert projected("import a\n\nx = 1") == "import a\n\nx = 1"
    assert projected("a = 1\nb = 2\nc = 3\nfig, ax = plt.subplots()\nax.plot()") == "a = 1\nb = 2\nc = 3\n# … and the figure"
    assert projected("fig, ax = plt.subplots()\nax.plot()") == ""
    skipped = new_code_cell("secret = 1", metadata={"slideshow": {"slide_type": "skip"}})
    long = [new_code_cell("\n".join(f"{name} = {i}" for i in range(20))) for name in "ab"]
    path = folder / "steps.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A title\n\nText."), skipped, *long]), path)
    with open_page(chromium, 1280, 800) as page:
        show(page, make_deck(path, folder))
        assert page.evaluate("Reveal.getTotalSlides()") == 1 and "secret" not in page.content()
        shown = [page.get_by_text(text).first for text in ("Text.", "a = 1\n", "b = 1\n")]
        seen = [[part.is_visible() for part in shown]]
        while page.evaluate("Reveal.availableFragments().next"):
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(400)
            seen.append([part.evaluate("e => getComputedStyle(e.closest('.step')).opacity == 1") for part in shown])
        assert len(seen) >= 2 and all(any(column) for column in zip(*seen, strict=True)) and seen[0][0] and not seen[-1][0]


def test_the_command_makes_decks(tmp_path, capsys):
    """`slides 0` makes one deck, whose assets all exist; a number without a notebook is answered with those there are."""
    main(["slides", "0", "--out", str(tmp_path)])
    deck = tmp_path / f"{NOTEBOOKS[0].stem}.html"
    assert str(deck) in capsys.readouterr().out and [path.name for path in tmp_path.glob("*.html")] == [deck.name]
    html = deck.read_text(encoding="utf-8")
    assets = re.findall(r'(?:src|href)="(assets/[^"?]*)', html)
    assert len(assets) >= 8 and all((tmp_path / name).is_file() for name in assets)
    assert set(re.findall(r'(?:src|href)="(https?://[^"/]*)', html)) <= set(re.findall(r'<a href="(https?://[^"/]*)', html))
    with pytest.raises(SystemExit, match=r"There is no notebook 99: there are 00, "):
        main(["slides", "99", "--out", str(tmp_path)])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_handout_withholds_what_is_the_instructors(path):
    """No outputs, no notes; every other cell is there as it was, stubs too, and the notebook is left alone."""
    notebook = read(path)
    before, given = copy.deepcopy(notebook), handout(notebook)
    nbformat.validate(given)
    assert notebook == before
    kept = [c for c in before.cells if c.metadata.get("slideshow", {}).get("slide_type") != "notes"]
    assert [(c.id, c.source) for c in given.cells] == [(c.id, c.source) for c in kept] and len(kept) < len(before.cells)
    assert all(c.outputs == [] and c.execution_count is None for c in given.cells if c.cell_type == "code")
    stubs = [c for c in given.cells if "stub" in c.metadata.get("tags", [])]
    assert stubs and all("raise NotImplementedError" in c.source for c in stubs)


def test_a_handout_withholds_tagged_cells():
    """Cells tagged `instructor` or `solution` are not handed out."""
    cells = [new_markdown_cell(tag, metadata={"tags": [tag]}) for tag in ("instructor", "solution", "stub", "exercise")]
    assert [cell.source for cell in handout(new_notebook(cells=cells)).cells] == ["stub", "exercise"]


def test_the_command_writes_a_handout(tmp_path, capsys):
    """`handout 2` writes a notebook; it is never written over the one it is made from, nor for a number that isn't there."""
    out = tmp_path / "new" / "attention.ipynb"
    main(["handout", "2", "--out", str(out)])
    assert str(out) in capsys.readouterr().out
    assert nbformat.read(out, as_version=4) == handout(read(ROOT / "notebooks" / "02_attention.ipynb"))
    with pytest.raises(SystemExit, match="is the notebook itself"):
        main(["handout", "02", "--out", str(ROOT / "notebooks" / "02_attention.ipynb")])
    with pytest.raises(SystemExit, match="There is no notebook x"):
        main(["handout", "x"])

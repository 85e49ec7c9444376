"""The website: built without a warning, every link leads somewhere, every page is sound in a real browser on desk and phone."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import open_page, served

from helpers import site as builder

pytest_plugins = ["browser"]
DESK, PHONE = (1280, 900), (390, 844)
READY = """async () => {  // every formula is typeset
    if (!document.querySelector(".math")) return;
    while (!window.MathJax?.Hub?.Register) await new Promise(done => setTimeout(done, 50));
    await new Promise(done => MathJax.Hub.Register.StartupHook("End", done));
}"""
FAULTS = """() => {
    const faults = [], root = document.documentElement, text = e => e.outerHTML.slice(0, 150);
    if (root.scrollWidth > innerWidth) faults.push(`wider than the window: ${root.scrollWidth} of ${innerWidth} pixels`);
    for (const e of document.images) {
        if (!e.alt.trim()) faults.push(`without alt text: ${text(e)}`);
        if (e.complete && !e.naturalWidth) faults.push(`no picture: ${text(e)}`);
    }
    for (const e of document.querySelectorAll(".math.notranslate")) {
        const drawn = e.querySelector(".MathJax");
        if (!drawn?.offsetWidth || e.querySelector(".merror, .MathJax_Error")) faults.push(`formula not drawn: ${text(e)}`);
    }
    return faults;
}"""


class Page(HTMLParser):
    """The anchors, the links and the pictures without alt text of an HTML file."""

    def __init__(self, file):
        super().__init__()
        self.anchors, self.links, self.blind = {"", "top"}, [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Note what a tag is and where it leads."""
        attributes = dict(attributes)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name) is not None]
        if tag == "img" and not (attributes.get("alt") or "").strip():
            self.blind.append(attributes.get("src"))


def pages_of(folder):
    """Return {name: page} of the HTML files of a site; those in _static are pieces of the theme."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.html"))}
    return {name: Page(file) for name, file in files.items() if not name.startswith("_static")}


def broken(folder):
    """Return what is wrong with the links of a site: files and anchors that are not there, addresses that cannot be."""
    pages, faults = pages_of(folder), []
    for name, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                if not (address.scheme in ("http", "https") and "." in address.netloc and " " not in link):
                    faults.append(f"{name}: {link} is no address")
                continue
            target = urlsplit(urljoin(f"/{name}", link)).path.strip("/") if address.path else name
            if not (folder / unquote(target)).is_file():
                faults.append(f"{name}: {link} leads nowhere")
            elif target in pages and unquote(address.fragment) not in pages[target].anchors:
                faults.append(f"{name}: {link} has no such anchor")
    return faults


def violations(page, *rules, axe=Axe()):  # noqa: B008
    """Return what axe-core calls serious or critical on an open page, by all rules or by those named.

    The insides of formulas, thousands of elements in the colour of the text around them, are left out.
    """
    options = {"resultTypes": ["violations"], "preload": False}  # it would look for imported styles at wrong addresses
    if rules:
        options["runOnly"] = list(rules)
    found = axe.run(page, context={"exclude": [[".MathJax"]]}, options=options).response["violations"]
    return [
        f"{v['id']}: {node['html'][:150]} {node['failureSummary'][:300]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"][:3]
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the website, built once, and what the command said."""
    out = tmp_path_factory.mktemp("website") / "site"
    command = [sys.executable, "-m", "helpers", "site", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture(scope="module")
def pages(site):
    """{name: page} of the website."""
    return pages_of(site[0])


def test_it_is_built_without_a_warning(site):
    """Nothing is on standard error, and the command says where the site is."""
    assert site[1].stderr == "" and "index.html" in site[1].stdout


def test_every_part_of_the_course_is_a_page(pages):
    """Notebooks, solutions, guides, cards and one page a module are there, and each can be reached from the front page."""
    wanted = {
        file.relative_to(builder.ROOT) for patterns in builder.PARTS.values() for p in patterns for file in builder.ROOT.glob(p)
    }
    wanted |= {Path("helpers", file.name) for file in (builder.ROOT / "helpers").glob("[!_]*.py")}
    wanted = {file.with_suffix(".html").as_posix() for file in wanted} | {"helpers/__main__.html", "helpers/checks.html"}
    front = {urlsplit(link).path for link in pages["index.html"].links} | {"index.html"}
    assert wanted <= set(pages)
    assert wanted <= front


def test_every_link_leads_somewhere(site):
    """Files and anchors within the site exist; addresses outside it are well formed."""
    assert broken(site[0]) == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ('<a href="gone.html">', "gone.html leads nowhere"),
        ('<a href="../outside.html">', "../outside.html leads nowhere"),
        ('<img src="gone.png" alt="a">', "gone.png leads nowhere"),
        ('<a href="#gone">', "#gone has no such anchor"),
        ('<a href="b.html#gone">', "b.html#gone has no such anchor"),
        ('<a href="https://nodots/x">', "https://nodots/x is no address"),
        ('<a href="htp://example.org">', "htp://example.org is no address"),
    ],
)
def test_a_broken_link_is_found(tmp_path, planted, fault):
    """The check of links fails on each kind of broken link, and not on good ones."""
    good = '<h1 id="here"></h1><a href="#here"></a><a href="b.html#there"></a><a href="https://example.org/x"></a>'
    (tmp_path / "b.html").write_text('<h1 id="there"></h1><a href="a.html"></a>', encoding="utf-8")
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    assert broken(tmp_path) == []
    (tmp_path / "a.html").write_text(good + planted, encoding="utf-8")
    assert broken(tmp_path) == [f"a.html: {fault}"]


def test_helpers_and_notebooks_link_to_each_other(pages):
    """From each definition in a notebook a link leads to its page of the helpers, and from there one leads back."""
    names = 0
    for file in sorted((builder.ROOT / "notebooks").glob("0*.ipynb")):
        notebook = f"notebooks/{file.stem}.html"
        for name in {name for cell in nbformat.read(file, as_version=4).cells for name in builder.built(cell)}:
            module = name.split(".")[1]
            assert f"../helpers/{module}.html#{name}" in pages[notebook].links, name
            assert any(link.startswith(f"../{notebook}#") for link in pages[f"helpers/{module}.html"].links), name
            names += 1
    assert names > 20


def test_a_docstring_that_cites_no_section_is_refused():
    """A docstring may name sections that exist, which become links; any other stops the build."""
    lines = ['Built in notebook 02, "The causal mask". 0.05 and *args stay.']
    builder.link_docstring(None, "function", "f", None, None, lines)
    assert lines[0].startswith('Built in notebook :ref:`02, "The causal mask" <section-2.5>`. 0.05 and ')
    with pytest.raises(ValueError, match="no such section"):
        builder.link_docstring(None, "function", "f", None, None, ['Notebook 02, "The casual mask".'])


def test_the_glossary_links_every_term_to_its_section(pages):
    """Each row of the glossary leads to the heading of the section in which the term is first used."""
    rows = (builder.ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8").count("](")
    links = [link for link in pages["notebooks/glossary.html"].links if ".html#section-" in link]
    assert rows > 80 and len(links) == rows


def test_a_notebook_is_downloaded_as_it_is(site):
    """The button of a page gives the notebook of the project, without what the site adds."""
    for file in (builder.ROOT / "notebooks").glob("0*.ipynb"):
        assert (site[0] / "_sources" / "notebooks" / file.name).read_bytes() == file.read_bytes()


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    """The site is not built over a folder of something else, and the refusal is a sentence."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="is no website of this course"):
        builder.build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_every_picture_has_alt_text(pages):
    """Every <img> says what it shows, and the figures say it in the words of the notebook."""
    assert {name: page.blind for name, page in pages.items() if page.blind} == {}


def test_the_alt_text_of_a_figure_is_that_of_the_notebook(site):
    """The words that stand with a figure in the notebook are those of its picture on the page."""
    for file in (builder.ROOT / "notebooks").glob("0*.ipynb"):
        seen = []

        class Pictures(HTMLParser):
            def handle_starttag(self, tag, attributes, seen=seen):
                if tag == "img":
                    seen.append(dict(attributes).get("alt"))

        Pictures().feed((site[0] / "notebooks" / f"{file.stem}.html").read_text(encoding="utf-8"))
        outputs = [o for cell in nbformat.read(file, as_version=4).cells for o in cell.get("outputs", [])]
        said = [output.metadata.alt for output in outputs if "alt" in output.get("metadata", {})]
        assert len(said) > 5 and set(said) <= set(seen), file.name


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_sound_in_a_browser(site, pages, chromium, size):
    """No request outside, no error, nothing wider than the window, alt texts, formulas drawn, nothing serious for axe-core."""
    faults = []
    with served(site[0]) as address, open_page(chromium, *size) as page:
        page.set_default_timeout(180_000)  # a machine may be busy
        for name in pages:
            page.emulate_media(color_scheme="light", reduced_motion="reduce")  # colours are judged, not the way to them
            page.goto(f"{address}/{name}")
            page.evaluate(READY)
            found = page.evaluate(FAULTS)
            if size == DESK:
                found += violations(page)
            if size == DESK and not re.match("notebooks/(solutions/)?0[1-6]", name):  # for lectures, 00 stands for all
                page.emulate_media(color_scheme="dark")
                page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
                found += [f"in the dark: {fault}" for fault in violations(page, "color-contrast")]
            faults += [f"{name}: {fault}" for fault in found]
    assert faults == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ('<div style="width: 2000px">wide</div>', "wider than the window"),
        ("<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>\">", "without alt text"),
        ('<span class="math notranslate">\\(x\\)</span>', "formula not drawn"),
        ("<button></button>", "button-name"),
        ('<p style="color: #bbb">pale</p>', "color-contrast"),
    ],
)
def test_a_bad_page_is_found(chromium, planted, fault):
    """Each check of a page fails on a page with that fault, and passes without it."""
    good = '<!doctype html><html lang="en"><title>t</title><meta name="viewport" content="width=device-width"><main>{}</main>'
    with open_page(chromium, *PHONE) as page:
        for text, wanted in ((good.format(""), 0), (good.format(planted), 1)):
            page.set_content(text)
            found = page.evaluate(FAULTS) + violations(page)
            assert sum(fault in each for each in found) == wanted


def test_search_finds_a_word(site, chromium):
    """The search for softmax finds the notebook on attention, and says when there is nothing."""
    with served(site[0]) as address, open_page(chromium, *DESK) as page:
        page.goto(f"{address}/search.html?q=softmax")
        page.wait_for_selector('#search-results a[href*="02_attention"]')
        page.goto(f"{address}/search.html?q=xylophonist")
        page.wait_for_selector("#search-results p:has-text('did not match')")


def test_the_button_turns_the_page_dark(site, chromium):
    """The menu of the button offers three modes, and the choice holds on the next page."""
    with served(site[0]) as address, open_page(chromium, *PHONE) as page:
        page.goto(f"{address}/index.html")
        background, seen = "getComputedStyle(document.body).backgroundColor", {}
        for mode in ("auto", "light", "dark"):
            page.locator(".theme-switch-button:visible").click()
            page.locator(f".theme-change-button[data-mode={mode}]:visible").click()
            assert page.evaluate("document.documentElement.dataset.mode") == mode
            seen[mode] = page.evaluate(background)
        assert seen["dark"] != seen["light"] == seen["auto"]
        page.goto(f"{address}/notebooks/glossary.html")
        assert page.evaluate(background) == seen["dark"]


def test_a_link_of_the_readme_is_followed_to_a_copied_file(tmp_path):
    """A link to a file that is no page takes the file along; one to a module or a folder leads to its page."""
    text = "[a](LICENSE) [b](helpers/gpt.py) [c](data) [d](helpers) [e](https://example.org) [f](#presets) [g](tests)"
    linked = builder.relink(text, builder.ROOT, tmp_path)
    assert (tmp_path / "LICENSE").is_file() and "test_site.py" in (tmp_path / "tests/README.md").read_text(encoding="utf-8")
    led = [
        "LICENSE",
        "helpers/gpt.rst",
        "data/README.md",
        "helpers/index.md",
        "https://example.org",
        "#presets",
        "tests/README.md",
    ]
    assert linked == " ".join(f"[{letter}]({target})" for letter, target in zip("abcdefg", led, strict=True))

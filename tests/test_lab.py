"""JupyterLab as a student meets it: each notebook run through the menu in a real browser, and the live panels driven."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import nbformat
import pytest
from browser import open_page
from nbformat.v4 import new_code_cell, new_notebook
from notebook_files import NOTEBOOKS, ROOT, read

from helpers.data import PROMPT
from helpers.slides import handout

pytest_plugins = ["browser"]
MINUTES = {"05": 15}  # how long a notebook may run; the others 8
SETTINGS = {
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell in the page, also those out of sight
}
CELLS = """() => Array.from(jupyterapp.shell.currentWidget.content.model.sharedModel.cells)
    .filter(c => c.cell_type == "code" && c.source.trim()).map(c => ({ ...c.toJSON(), id: c.id }))"""
# Whether the run has ended: every cell was executed, or one has failed (after which the others are not).
ENDED = f"""() => {{
  const cells = ({CELLS})();
  const failed = c => c.outputs.some(o => o.output_type == "error") && !c.metadata.tags?.includes("raises-exception");
  const status = document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status;
  return status == "idle" && (cells.every(c => c.execution_count) || cells.some(failed));
}}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a free port with a folder of its own: (its address with {} for a notebook, the folder)."""
    folder, own = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    for name, setting in SETTINGS.items():
        file = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(16)
    options = [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--no-browser"]
    options += ["--allow-root", "--expose-app-in-browser", f"--notebook-dir={folder}"]
    options += [f"--LabApp.user_settings_dir={own / 'settings'}", f"--LabApp.workspaces_dir={own / 'workspaces'}"]
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "COURSE_CACHE")
    env = {**os.environ, **{name: str(own / name.lower()) for name in places}}
    log = own / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, cwd=folder, stdout=out, stderr=out)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, log)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}", folder
    finally:
        server.terminate()
        server.wait(60)


def wait_for(address, server, log):
    """Wait until a server answers; fail with its log if it ends or takes more than three minutes."""
    for _ in range(180):
        assert server.poll() is None, log.read_text(encoding="utf-8")
        try:
            return urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(1)
    pytest.fail(log.read_text(encoding="utf-8"))


def run_all(page, address, minutes):
    """Open a notebook, choose Run → Run All Cells in the menu, wait until it has ended, and return what failed."""
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext.session?.kernel?.status == 'idle'"
    )
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(ENDED, timeout=minutes * 60_000, polling=500)
    failures = []
    for cell in page.evaluate(CELLS):
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        if errors and "raises-exception" not in cell["metadata"].get("tags", []):
            failures.append(f"{cell['id']}: {errors[0]['ename']}: {errors[0]['evalue']}")
        elif not cell["execution_count"]:
            failures.append(f"{cell['id']}: not executed")
    return failures


def shut_down(page):
    """End the kernel of the open notebook, and its memory with it."""
    page.evaluate("jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")


def slider(panel, name):
    """Return the handle and the readout of a slider of a panel."""
    box = panel.locator(".widget-slider", has=panel.page.get_by_text(name, exact=True))
    return box.locator(".noUi-handle"), box.locator(".widget-readout")


def answer(page, code):
    """Write code into a new cell, run it, and return its last line of output."""
    page.evaluate(
        """async code => {
          await jupyterapp.commands.execute("notebook:insert-cell-below");
          jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(code);
          await jupyterapp.commands.execute("notebook:run-cell");
        }""",
        code,
    )
    return page.locator(".jp-Cell.jp-mod-active .jp-OutputArea-output").inner_text().strip()


def drive_generation(page):
    """Type a prompt, move a slider, generate; see the text grow, stop it, and see the kernel free for another cell."""
    panel = page.locator(".jp-OutputArea-output .widget-vbox", has=page.locator("button", has_text="Generate")).first
    start, stop = (panel.locator("button", has_text=name) for name in ("Generate", "Stop"))
    prompt, text = panel.locator("textarea"), panel.locator("p")
    assert prompt.input_value() == PROMPT and stop.is_disabled()
    prompt.fill("The river in my country is")
    temperature, value = slider(panel, "temperature")
    temperature.press("Home")
    start.click()
    panel.get_by_text("temperature must be above 0").wait_for()  # bad settings are answered with a sentence
    for _ in range(12):
        temperature.press("ArrowRight")
    assert value.inner_text() == "0.60"
    slider(panel, "length")[0].press("End")
    start.click()
    panel.get_by_text("The river in my country is").last.wait_for()
    lengths = [len(text.inner_text())]
    for _ in range(3):  # it grows before our eyes
        grown = "([panel, n]) => panel.querySelector('p')?.innerText.length > n"
        page.wait_for_function(grown, arg=[panel.element_handle(), lengths[-1]])
        lengths.append(len(text.inner_text()))
    assert panel.locator("tr").count() >= 1 and start.is_disabled()
    stop.click()
    panel.get_by_text("Stopped.").wait_for()
    written = text.inner_text()
    assert answer(page, "6 * 7") == "42"
    assert text.inner_text() == written and start.is_enabled() and stop.is_disabled()


def drive_attention(page):
    """Move the sliders for layer and head: each time another picture comes, and its text says which."""
    panel = page.locator(".jp-OutputArea-output .widget-vbox", has=page.get_by_text("layer", exact=True)).first
    image, seen = panel.locator("img"), []
    for name, layer, head in (("layer", 2, 1), ("head", 2, 2), ("layer", 3, 2)):
        seen.append(image.get_attribute("src"))
        slider(panel, name)[0].press("ArrowRight")
        panel.locator(f'img[alt^="Layer {layer}, head {head}: "]').wait_for()
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") > 200
    assert len({*seen, image.get_attribute("src")}) == 4


DRIVE = {"00": drive_generation, "02": drive_attention, "06": drive_generation}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_through_the_menu(path, lab, chromium):
    """As it is handed out, without outputs: every cell is executed, none fails, and its panel does what it should."""
    address, folder = lab
    nbformat.write(handout(read(path)), folder / path.name)
    (folder / "course_map.svg").write_bytes((ROOT / "notebooks" / "course_map.svg").read_bytes())
    number = path.stem[:2]
    with open_page(chromium, 1280, 1000) as page:
        assert run_all(page, address.format(path.name), MINUTES.get(number, 8)) == []
        if number in DRIVE:
            DRIVE[number](page)
        shut_down(page)


def test_a_failing_cell_and_those_after_it_are_found(lab, chromium):
    """An error is one, unless the cell is tagged raises-exception; what comes after it is not executed."""
    address, folder = lab
    cells = [new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}), new_code_cell("x = 1")]
    cells += [new_code_cell("1 / 0"), new_code_cell("x = 2")]
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}}), folder / "bad.ipynb"
    )
    with open_page(chromium, 1280, 1000) as page:
        failures = run_all(page, address.format("bad.ipynb"), 2)
        shut_down(page)
    assert failures == [f"{cells[2].id}: ZeroDivisionError: division by zero", f"{cells[3].id}: not executed"]

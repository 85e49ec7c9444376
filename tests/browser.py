"""A real browser for the tests: Chromium without a window, for which nothing exists but this machine.

A test module says `pytest_plugins = ["browser"]` and `from browser import open_page, served`, and takes the fixture
`chromium`:

    with served(folder) as address, open_page(chromium, 1280, 800) as page:
        page.goto(f"{address}/index.html")

PYTEST_DONT_REWRITE: the modules import this one before pytest takes it for a plugin, which otherwise brings a warning.
"""

import re
import shutil
import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
HERE = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|(file|data|blob|about):")


def find_chromium(playwright):
    """Return the path of a Chromium of the system, or else of playwright's own, or None."""
    own = playwright.chromium.executable_path
    return next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)


@pytest.fixture(scope="module")  # not longer: while playwright runs, no other test of this process could use asyncio
def chromium():
    """A running Chromium that resolves no name but this machine's; without one, the tests are skipped."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            pytest.skip(f"there is no Chromium: install it with {sys.executable} -m playwright install chromium")
        arguments = ["--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def open_page(browser, width, height, expected="$^"):
    """Yield a page; at the end, fail if it or a window it opened had an error or asked for anything outside this machine.

    Faults are also failed requests, answers from 400 on, and errors on the console. expected: a regular expression;
    a fault in which it is found does not count.
    """
    context, faults = browser.new_context(viewport={"width": width, "height": height}), []

    def note(fault):
        if not re.search(expected, fault) and fault not in faults:
            faults.append(fault)

    def watch(page):
        page.on("websocket", lambda socket: HERE.match(socket.url) or note(f"outside request: {socket.url}"))

    context.on("page", watch)
    context.on("request", lambda request: HERE.match(request.url) or note(f"outside request: {request.url}"))
    context.on("requestfailed", lambda r: "ERR_ABORTED" in str(r.failure) or note(f"failed request: {r.failure} {r.url}"))
    context.on("response", lambda answer: answer.status < 400 or note(f"answer {answer.status}: {answer.url}"))
    context.on("console", lambda message: message.type != "error" or note(f"console: {message.text}"))
    context.on("weberror", lambda error: note(f"page error: {error.error}"))
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not faults, "\n".join(faults)


class _Quiet(SimpleHTTPRequestHandler):
    """A file server without a log."""

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def served(folder):
    """Serve a folder on a free port of this machine, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()

"""The download of Wikipedia, from servers on this machine that misbehave."""

import hashlib
import random
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet

from helpers import wikipedia
from helpers.__main__ import main
from helpers.checkpoint import load_checkpoint, load_pretrained
from helpers.data import PROMPT, load_corpus
from helpers.generation import stream_text
from helpers.wikipedia import fetch


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answers = self.server.routes[self.path]
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status is None:  # never answers
            self.server.closing.wait()
            return
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine: `routes` maps each path to the answers that it gives in turn, the last one for ever."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.routes, server.asked, server.closing = {}, [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def pinned(server, monkeypatch, tmp_path):
    """A small file pinned in the place of the real one, served under /file; the pauses are written down, not waited for."""
    content, pauses, cache = random.Random(0).randbytes(2_500_000), [], tmp_path / "new" / "cache"
    pin(monkeypatch, server, content)
    monkeypatch.delenv("COURSE_WIKIPEDIA_FILE", raising=False)
    monkeypatch.delenv("COURSE_WIKIPEDIA_URL", raising=False)
    file = cache / wikipedia.NAME
    return SimpleNamespace(content=content, pauses=pauses, cache=cache, file=file, fetch=lambda: fetch(cache, pauses.append))


def pin(monkeypatch, server, content):
    monkeypatch.setattr(wikipedia, "URL", f"{server.url}/file")
    monkeypatch.setattr(wikipedia, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(wikipedia, "SIZE", len(content))
    server.routes["/file"] = [(200, {}, content)]


def test_a_second_call_does_not_touch_the_network(server, pinned):
    """The file is fetched through a redirect into a folder that is made, and later found there without asking anyone."""
    server.routes |= {"/moved": server.routes["/file"], "/file": [(302, {"Location": "/moved"}, b"")]}
    assert pinned.fetch() == pinned.file
    assert pinned.file.read_bytes() == pinned.content
    assert pinned.fetch() == pinned.file
    assert server.asked == ["/file", "/moved"]
    assert list(pinned.cache.iterdir()) == [pinned.file]


CUT = (200, {"Content-Length": 2_500_000}, b"x" * 1_200_000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"another file"), "is another file"),
        (CUT, "broke off in the middle, 4 times"),
        ((404, {}, b""), "404 Not Found"),
        ((503, {}, b""), "503 Service Unavailable, 4 times"),
        ((302, {"Location": "/file"}, b""), "TooManyRedirects"),
        ((None, {}, b""), "no answer within 0.1 seconds, 4 times"),
    ],
)
def test_a_download_that_fails_leaves_nothing(server, pinned, monkeypatch, answer, reason):
    """A wrong hash, a cut body, an error or silence ends in an error that says so, and leaves no file behind."""
    monkeypatch.setattr(wikipedia, "TIMEOUT", 0.1)
    server.routes["/file"] = [answer]
    with pytest.raises(ConnectionError, match=reason):
        pinned.fetch()
    assert list(pinned.cache.iterdir()) == []


def test_a_cut_download_is_tried_again_with_growing_pauses(server, pinned):
    """After two cut bodies and a failing server the fourth try brings the file."""
    server.routes["/file"] = [CUT, CUT, (500, {}, b""), (200, {}, pinned.content)]
    assert pinned.fetch().read_bytes() == pinned.content
    assert pinned.pauses == [1, 5, 25]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "waited"), [("7", 7), ("86400", 120), ("0", 1), ("soon", 1), (60.0, 60)])
def test_retry_after_is_honoured_within_bounds(server, pinned, status, asked, waited):
    """A server that is busy says how long to wait, in seconds or as a date; nobody waits longer than two minutes."""
    if isinstance(asked, float):
        asked = format_datetime(datetime.now(UTC) + timedelta(seconds=asked), usegmt=True)
    server.routes["/file"] = [(status, {"Retry-After": asked}, b""), (200, {}, pinned.content)]
    pinned.fetch()
    assert pinned.pauses == [pytest.approx(waited, abs=5 if waited == 60 else 0)]


def test_mirrors_are_tried_first(server, pinned, monkeypatch):
    """Mirrors are asked in their order before the pinned address, a missing or wrong file there only once."""
    server.routes |= {"/one": [(404, {}, b"")], "/two": [(200, {}, b"wrong")]}
    monkeypatch.setenv("COURSE_WIKIPEDIA_URL", f" {server.url}/one   {server.url}/two ")
    assert pinned.fetch().read_bytes() == pinned.content
    assert server.asked == ["/one", "/two", "/file"]
    assert pinned.pauses == []


def test_without_network_the_error_says_what_to_do(server, pinned, monkeypatch):
    """The message names file, size, hash, each address with its reason, the folder, and the variable for a local copy."""
    server.routes["/mirror"] = [(403, {}, b"")]
    gone = "http://127.0.0.1:1/file"  # nothing listens on port 1
    monkeypatch.setattr(wikipedia, "URL", gone)
    monkeypatch.setenv("COURSE_WIKIPEDIA_URL", f"{server.url}/mirror")
    with pytest.raises(ConnectionError) as error:
        pinned.fetch()
    message = str(error.value)
    for part in (wikipedia.NAME, "2,500,000 bytes", wikipedia.SHA256, str(pinned.cache), "COURSE_WIKIPEDIA_FILE"):
        assert part in message
    assert f"{server.url}/mirror: the server answered 403 Forbidden\n" in message
    assert f"{gone}: no connection, or it was lost, 4 times\n" in message


def test_a_wrong_file_in_the_cache_is_never_used(server, pinned, capsys):
    """Half a file under the right name is reported and fetched again, and not used even if that fails."""
    pinned.cache.mkdir(parents=True)
    pinned.file.write_bytes(pinned.content[:1_000_000])
    good, server.routes["/file"] = server.routes["/file"], [(404, {}, b"")]
    with pytest.raises(ConnectionError):
        pinned.fetch()
    assert "is not the right file" in capsys.readouterr().out
    server.routes["/file"] = good
    assert pinned.fetch().read_bytes() == pinned.content


def test_an_interrupted_download_leaves_nothing(pinned, monkeypatch):
    """The user's interruption in the middle of the body goes through, leaves no file, and the next call starts anew."""

    class Interrupted(wikipedia.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(wikipedia, "tqdm", Interrupted)
        pinned.fetch()
    assert list(pinned.cache.iterdir()) == []
    assert pinned.fetch().read_bytes() == pinned.content


def test_a_local_copy_is_taken_if_it_is_the_right_one(server, pinned, monkeypatch, tmp_path):
    """COURSE_WIKIPEDIA_FILE replaces the download; a copy that is missing or differs by one byte is refused."""
    copy = tmp_path / "copy.parquet"
    monkeypatch.setenv("COURSE_WIKIPEDIA_FILE", str(copy))
    with pytest.raises(FileNotFoundError, match="COURSE_WIKIPEDIA_FILE"):
        pinned.fetch()
    copy.write_bytes(pinned.content[:-1] + b"?")
    with pytest.raises(ValueError, match=f"COURSE_WIKIPEDIA_FILE.*{wikipedia.SHA256}"):
        pinned.fetch()
    copy.write_bytes(pinned.content)
    assert pinned.fetch() == copy
    assert server.asked == []


def test_the_pinned_file_and_its_licence_are_stated():
    """The file is the one of the course, and what the manifest needs to say about it is there: source, hash, licence."""
    commit = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"
    folder = f"https://huggingface.co/datasets/wikimedia/wikipedia/resolve/{commit}/20231101.simple"
    assert wikipedia.URL.rsplit("/", 1) == [folder, "train-00000-of-00001.parquet"]
    assert wikipedia.SHA256 == "31bded16768a47c286becd292079122f5d7d4397a17b87d4250a00ccd581e6f0"
    stated = (wikipedia.SOURCE[key] for key in ("url", "revision", "sha256", "bytes"))
    assert tuple(stated) == (wikipedia.URL, commit, wikipedia.SHA256, 156_885_218)
    for licence in ("CC BY-SA 3.0", "CC BY-SA 4.0", "GFDL"):
        assert licence in wikipedia.SOURCE["licence"]
    assert "Wikipedia's contributors" in wikipedia.SOURCE["attribution"]


def test_from_the_server_to_tokens(server, pinned, monkeypatch, tmp_path):
    """The corpus "wikipedia" is downloaded, cleaned and encoded; a second call gives the same tokens without the network."""
    rng, words = (
        random.Random(0),
        "the old river town mountain is near a high cold lake and people live there in summer".split(),
    )
    texts = [" ".join(rng.choices(words, k=60)).capitalize() + ".\n\nReferences \n\nTowns" for _ in range(100)]
    table = pa.table({"id": range(100), "url": texts, "title": [f"Place {i}" for i in range(100)], "text": texts})
    parquet.write_table(table, tmp_path / "served.parquet")
    pin(monkeypatch, server, (tmp_path / "served.parquet").read_bytes())
    monkeypatch.setenv("COURSE_CACHE", str(pinned.cache))
    first, second = load_corpus("wikipedia", vocab_size=300), load_corpus("wikipedia", vocab_size=300)
    assert server.asked == ["/file"]
    assert sum(part["articles"] for part in first.manifest["parts"].values()) == 100
    assert "References" not in first.tokenizer.decode(first.train)
    assert first.train.tolist() == second.train.tolist()


STAND_IN = Path(__file__).resolve().parents[2] / "shared" / "wikipedia" / "train-00000-of-00001.mini.parquet"


@pytest.mark.skipif(not STAND_IN.is_file(), reason="the stand-in for the Wikipedia file is not beside the project")
def test_from_the_server_to_a_model_that_speaks(server, pinned, monkeypatch, tmp_path):
    """Real articles are served, downloaded, cleaned and encoded; a model learns from them, is exported, and continues."""
    pin(monkeypatch, server, STAND_IN.read_bytes())
    monkeypatch.setenv("COURSE_CACHE", str(pinned.cache))
    small = ["embed_size=32", "n_layers=1", "n_heads=2", "context=64", "eval_batches=5", "lr=0.003", "eval_interval=60"]
    command = ["train", "--data", "wikipedia", "--out", str(tmp_path / "run"), "--wandb", "disabled", "--device", "cpu"]
    main([*command, "--train-iters", "60", "--set", "vocab_size=8192", *small])
    main(["export", "--checkpoint", str(tmp_path / "run" / "best.pt"), "--out", str(tmp_path / "model")])
    assert server.asked == ["/file"]
    rows = load_checkpoint(tmp_path / "run" / "latest.pt")["rows"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] - 0.5  # from ln 8192 towards the unigram
    model, tokenizer = load_pretrained(folder=tmp_path / "model")
    assert "".join(stream_text(model, tokenizer, PROMPT, 20, seed=0)).strip()

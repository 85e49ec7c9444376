"""Fetching and cleaning Wikipedia (notebook 05)."""

import html
import os
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from tqdm import tqdm

REVISION = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"
NAME = "train-00000-of-00001.parquet"
URL = f"https://huggingface.co/datasets/wikimedia/wikipedia/resolve/{REVISION}/20231101.simple/{NAME}"
SHA256 = "31bded16768a47c286becd292079122f5d7d4397a17b87d4250a00ccd581e6f0"
SIZE = 156_885_218  # bytes
SOURCE = {
    "title": "Simple English Wikipedia, 1 November 2023",
    "url": URL,
    "revision": REVISION,
    "sha256": SHA256,
    "bytes": SIZE,
    "licence": "CC BY-SA 3.0 and 4.0, and GFDL",
    "attribution": "Text by the contributors to Wikipedia, https://simple.wikipedia.org",
}

PAUSES = (1, 5, 25)  # seconds before the second, third and fourth try at one address
LONGEST_PAUSE = 120  # seconds; a server that asks for more does not get it
TIMEOUT = 30  # seconds without an answer

MINIMUM = 200  # characters of an article; below that it is a stub
LIST_MINIMUM = 1000  # for a page that calls itself a list: what stands before the list is only about the list
SHORT_LINE = 80  # characters; a shorter line without final punctuation is a heading, a list item or a category
HEADING = 6  # words; a line of no more, without a verb, is a heading even if it ends in a full stop


def fetch(cache, pause=time.sleep):
    """Return the path of the Wikipedia file in the folder `cache`; it is downloaded once, and its hash checked at every call.

    The environment variable COURSE_WIKIPEDIA_FILE names a local copy to take instead, COURSE_WIKIPEDIA_URL one or more
    mirrors to try first, separated by spaces. pause: is called with the seconds to wait. Raises FileNotFoundError or
    ValueError for a local copy that is missing or wrong, and ConnectionError when no address gave the right file.
    """
    from pooch import file_hash

    if local := os.environ.get("COURSE_WIKIPEDIA_FILE"):
        return _local_copy(Path(local).expanduser())
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / NAME
    if path.is_file():
        found = file_hash(path)
        if found == SHA256:
            return path
        print(f"{path} is not the right file (its sha256 is {found}, not {SHA256}): it is not used, but fetched again.")
    failures = []
    for url in [*os.environ.get("COURSE_WIKIPEDIA_URL", "").split(), URL]:
        failure = _download(url, cache, pause)
        if failure is None:
            return path
        failures.append(f"  {url}: {failure}")
    raise ConnectionError(
        f"Wikipedia could not be downloaded. The file is {NAME}, {SIZE:,} bytes, sha256 {SHA256}. These addresses failed:\n"
        + "\n".join(failures)
        + f"\nTry again later, or get the file on another computer and put it into the folder {cache.resolve()} under the "
        f"name {NAME}, or set the environment variable COURSE_WIKIPEDIA_FILE to the path of your copy. "
        "COURSE_WIKIPEDIA_URL may hold the address of a mirror."
    )


def _local_copy(path):
    from pooch import file_hash

    if not path.is_file():
        raise FileNotFoundError(f"COURSE_WIKIPEDIA_FILE names {path}, but there is no such file.")
    if (found := file_hash(path)) != SHA256:
        raise ValueError(
            f"COURSE_WIKIPEDIA_FILE names {path}, which is not {NAME}: its sha256 is {found}, not {SHA256}. "
            "Another file of this form can be read by giving its path as the data."
        )
    return path


def _download(url, cache, pause):
    """Fetch the file from one address into `cache`, in a few tries; return None, or the reason why that failed."""
    import pooch
    import requests

    for wait in (*PAUSES, None):
        try:
            with tqdm(desc=NAME, unit="B", unit_scale=True) as bar:
                get = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=TIMEOUT)
                # pooch writes to a temporary file, which gets its name only when its hash is right
                pooch.retrieve(url, known_hash=SHA256, fname=NAME, path=cache, downloader=get)
            return None
        except requests.HTTPError as error:
            answer = error.response
            failure = f"the server answered {answer.status_code} {answer.reason}"
            if answer.status_code < 500 and answer.status_code not in (408, 429):
                return failure  # it would say the same again
            wait = wait and min(max(wait, _retry_after(answer)), LONGEST_PAUSE)
        except requests.Timeout:
            failure = f"no answer within {TIMEOUT} seconds"
        except requests.exceptions.ChunkedEncodingError:
            failure = "the connection broke off in the middle"
        except requests.ConnectionError:
            failure = "no connection"
        except requests.RequestException as error:
            return f"{type(error).__name__}: {error}"
        except ValueError:
            return f"what came is another file: its sha256 is not {SHA256}"
        if wait is not None:
            print(f"{url}: {failure}; next try in {wait:.0f} s.")
            pause(wait)
    return f"{failure}, {len(PAUSES) + 1} times"


def _retry_after(answer):
    """Return the seconds that a server asks us to wait: it may give a number or a date."""
    value = answer.headers.get("Retry-After", "")
    if value.isdecimal():
        return int(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0


def read_parquet(path):
    """Yield the cleaned articles of a Wikipedia parquet file; ValueError if it is damaged or lacks title and text."""
    for title, text in _rows(path):
        article, _ = clean_article(title, text)
        if article is not None:
            yield article


def cleaning_report(path):
    """Count the articles of a parquet file that are kept, or dropped, by reason.

    Returns {"kept" or reason: {"articles", "bytes_read", "bytes_kept"}}, bytes in UTF-8 with the title.
    """
    report = {}
    for title, text in _rows(path):
        article, reason = clean_article(title, text)
        counts = report.setdefault(reason or "kept", {"articles": 0, "bytes_read": 0, "bytes_kept": 0})
        counts["articles"] += 1
        counts["bytes_read"] += len(f"{title}\n{text}".encode("utf-8", "replace"))
        counts["bytes_kept"] += len((article or "").encode("utf-8", "replace"))
    return report


def _rows(path):
    """Yield (title, text) of each row, a few at a time, so that a file of any size needs little memory."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            strings = {field.name for field in schema if field.type in (pyarrow.string(), pyarrow.large_string())}
            if not {"title", "text"} <= strings:
                raise ValueError(f"{path} needs the columns title and text, of strings; it has {', '.join(schema.names)}.")
            for batch in file.iter_batches(batch_size=256, columns=["title", "text"]):
                yield from zip(batch["title"].to_pylist(), batch["text"].to_pylist(), strict=True)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a parquet file, or damaged ({str(error).splitlines()[0]}): fetch it again.") from error


# What is left of wiki and HTML markup: a string that shows that it is there, a pattern, and what takes its place; in this order.
MARKUP = [
    ("<", r"<!--.*?-->|<ref[^<>/]*>[^<>]*</ref>|<ref[^<>]*$", ""),
    ("<", r"</?(?:br|p|div|li|td|tr|th|hr)\b[^<>]*>", " "),
    ("<", r"</?[a-zA-Z][^<>]*>", ""),
    ("__", r"__[A-Z]+__", ""),
    ("{{", r"\{\{[^{}]*\}\}", ""),
    ("[[", r"\[\[(?:[Cc]ategory|[Ff]ile|[Ii]mage):[^][]*\]\]", ""),
    ("[[", r"\[\[(?:[^][|\n]*\|)?([^][|\n]*)\]\]", r"\1"),
    ("|", r"^ *(?:(?:thumb(?:nail)?|frame(?:less)?|left|right|center|upright[=.\d]*|alt=[^|\n]*|\d*x?\d+ ?px)\|)+", ""),
    ("''", r"'{2,}([^'\n]+)'{2,}", r"\1"),
    ("http", r'[("“]?https?://[^\s"”<>()|]+[)"”]?', ""),
    ("www.", r'[("“]?www\.[^\s"”<>()|]+[)"”]?', ""),
]
MARKUP = [(sign, re.compile(pattern, re.MULTILINE), replacement) for sign, pattern, replacement in MARKUP]
BRACKETS = [  # what is left of a name in another script, or of how it is spoken
    (re.compile(r" ?(?:\([ ,;:/–-]*\)|\[[ ,;:/–-]*\])"), ""),
    (re.compile(r"([(\[])[ ,;]+"), r"\1"),
    (re.compile(r"[,;]? +([)\]])|(?:[,;] ?)+([)\]])"), r"\1\2"),
]
SPACES = [
    (re.compile(r"  +"), " "),
    (re.compile(r"(?<=[^.\s]) ([.,;])(?=\s|$)"), r"\1"),
    (re.compile(r"(?<=\w\.) \.(?= [A-Z]| ?$)|^ ?[.,;:](?=\s|$)", re.MULTILINE), ""),
]
TAIL = re.compile(
    r"(?:references?|notes?|footnotes?|citations|sources?|(?:notes|references|sources) and (?:notes|references|sources)"
    r"|(?:other|more|external|related) (?:websites?|pages?|links?|sources?|reading)|further reading|websites?|see also) ?[.:]?",
    re.IGNORECASE,
)
TABLE = re.compile(r'[|{}<]|\[\[|\]\]|">|^![^\w]|^=+.*=+$|\b(?:style|class|(?:col|row)span|v?align|bgcolor|scope) ?=')
ENDS = re.compile(r"""[.!?…:;。！？]["'”’)\]]*$""")
VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|do|does|did|can|could|may|might|must|will|would|won|lost|made|became|began|took"
    r"|went|gave|got|wrote|said|came|lives?|plays|means?|stands|includes?|contains|consists)\b|(?<= )(?!United)\w{2,}ed\b"
)
MEANINGS = re.compile(
    r"\b(?:may|can|could|might) (?:also |either )?(?:refer|mean|stand for)\b[^.]*(?::|[^.!?\"”)])$"
    r"|^[^.]*\bmay (?:also )?refer to\b"
)
CONTINUES = re.compile(r"""[a-z\d"“‘'(•*–-]""")  # how a paragraph starts that belongs to a colon before it
SENTENCES = re.compile(r"""(.*[.!?]["”’)]*) """)  # all whole sentences of a line


def clean_article(title, text):
    """Return ("title, newline, a line per paragraph", None), or (None, the reason why the article is dropped).

    Reasons: "empty", "disambiguation", "list", "stub". Sentences stay as they are but for markup, empty brackets and spaces.
    Lines that are not prose go: tables, headings, lists, categories, and all that follows the heading "References".
    """
    title = " ".join((title or "").split())
    text = _strip_markup(text or "")
    first = text.strip().split("\n", 1)[0]
    if not title or not first:
        return None, "empty"
    if title.endswith("(disambiguation)") or MEANINGS.search(first):
        return None, "disambiguation"
    article = "\n".join([title, *_paragraphs(text)])
    is_list = title.startswith(("List of ", "Lists of ", "Index of "))
    if len(article) < (LIST_MINIMUM if is_list else MINIMUM):
        return None, "list" if is_list else "stub"
    return article, None


def _strip_markup(text):
    for _ in range(2 if "&" in text else 0):  # twice: some text is escaped twice
        text = re.sub(r"&#?\w+;", lambda entity: html.unescape(entity[0]), text)
    if not text.isascii():
        text = re.sub("[\u200b-\u200f\u202a-\u202e\u2060\ufeff\xad]", "", text)  # what takes no room on the page
        text = re.sub("[\xa0\u2000-\u200a\u202f\u3000]", " ", text)
    text = "\n".join(text.expandtabs(1).splitlines())
    for sign, pattern, replacement in MARKUP:
        if sign in text:
            text = pattern.sub(replacement, text)
    before = None
    while text != before:  # brackets may stand in brackets
        before = text
        for pattern, replacement in BRACKETS:
            text = pattern.sub(replacement, text)
    for pattern, replacement in SPACES:
        text = pattern.sub(replacement, text)
    return text


def _paragraphs(text):
    """Return the lines of prose before the tail of references."""
    lines = []
    for line in map(str.strip, text.split("\n")):
        if TAIL.fullmatch(line):
            break
        lines.append(line if _is_prose(line) else None)
    kept = []  # from the last to the first, because a line that ends in a colon needs what follows
    for line, after in zip(reversed(lines), [None, *reversed(lines)], strict=False):
        if line and line.endswith(":") and not after and not (kept and CONTINUES.match(kept[-1])):
            whole = SENTENCES.match(line)  # the list that it announces is gone
            line = whole and whole[1]
        if line:
            kept.append(line)
    return reversed(kept)


def _is_prose(line):
    if not line or TABLE.search(line):
        return False
    if not ENDS.search(line):
        return len(line) >= SHORT_LINE
    words = line.count(" ") + 1
    return words > HEADING or (words > 1 and VERB.search(line) is not None)

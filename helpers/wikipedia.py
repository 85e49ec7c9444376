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
    "url": URL,
    "revision": REVISION,
    "sha256": SHA256,
    "bytes": SIZE,
    "licence": "CC BY-SA 3.0, CC BY-SA 4.0 and GFDL",
    "attribution": "Text by Wikipedia's contributors, https://simple.wikipedia.org",
}
PAUSES = (1, 5, 25)  # seconds before the second, third and fourth try at one address
LONGEST_PAUSE = 120  # seconds: a server that asks for more does not get it
TIMEOUT = 30  # seconds without an answer
MINIMUM = 200  # characters of an article; below that it is a stub
LIST_MINIMUM = 1000  # for a page that calls itself a list: a short text there is only about the list
SHORT_LINE = 80  # characters; a shorter line without final punctuation is a heading, a list item or a category
HEADING = 4  # words; a line of no more, without a verb, is a heading even if it ends in a full stop


def fetch(cache, pause=time.sleep):
    """Return the path of the Wikipedia file in the folder `cache`: downloaded once, its hash checked at every call.

    The environment variable COURSE_WIKIPEDIA_FILE names a local copy to take instead, COURSE_WIKIPEDIA_URL mirrors to try
    first, separated by spaces. pause: is called with the seconds to wait. Raises FileNotFoundError or ValueError for a
    local copy that is missing or wrong, and ConnectionError when no address gave the right file.
    """
    from pooch import file_hash

    if local := os.environ.get("COURSE_WIKIPEDIA_FILE"):
        path = Path(local).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"COURSE_WIKIPEDIA_FILE names {path}, but there is no such file.")
        if (found := file_hash(path)) != SHA256:
            raise ValueError(f"COURSE_WIKIPEDIA_FILE names {path}, which is another file: its sha256 is {found}, not {SHA256}.")
        return path
    path = Path(cache) / NAME
    if path.is_file():
        if (found := file_hash(path)) == SHA256:
            return path
        print(f"{path} is not the right file (its sha256 is {found}, not {SHA256}): it is not used, but fetched again.")
    failures = []
    for url in [*os.environ.get("COURSE_WIKIPEDIA_URL", "").split(), URL]:
        if (failure := _download(url, path, pause)) is None:
            return path
        failures.append(f"  {url}: {failure}\n")
    raise ConnectionError(
        f"Wikipedia could not be downloaded. The file is {NAME}, {SIZE:,} bytes, sha256 {SHA256}. These addresses failed:\n"
        f"{''.join(failures)}Try again later, or get the file on another computer and put it into the folder "
        f"{path.parent.resolve()} under the name {NAME}, or set the environment variable COURSE_WIKIPEDIA_FILE to the path of "
        "your copy. COURSE_WIKIPEDIA_URL may hold the address of a mirror."
    )


def _download(url, path, pause):
    """Fetch the file from one address into `path`, in a few tries; return None, or the reason why that failed."""
    import pooch
    import requests

    for wait in (*PAUSES, None):
        try:
            with tqdm(desc=NAME, total=SIZE, unit="B", unit_scale=True) as bar:
                get = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=TIMEOUT)
                # pooch writes to a temporary file, which gets its name only when its hash is right
                pooch.retrieve(url, known_hash=SHA256, fname=path.name, path=path.parent, downloader=get)
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
            failure = "no connection, or it was lost"
        except requests.RequestException as error:
            return f"{type(error).__name__}: {error}"
        except ValueError:
            return f"what came is another file: its sha256 is not {SHA256}"
        if wait is not None:
            print(f"{url}: {failure}; next try in {wait:.0f} s.")
            pause(wait)
    return f"{failure}, {len(PAUSES) + 1} times"


def _retry_after(answer):
    """Return the seconds that a server asks us to wait; it may give a number or a date."""
    value = answer.headers.get("Retry-After", "")
    try:
        return int(value) if value.isdecimal() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0


def read_parquet(path):
    """Yield the cleaned articles of a Wikipedia parquet file; ValueError if it is damaged or lacks title and text."""
    cleaned = (clean_article(title, text)[0] for title, text in _rows(path))
    yield from filter(None, cleaned)


def cleaning_report(path):
    """Count what is kept of a parquet file, and what is dropped for which reason.

    Returns {"kept" or reason: {"articles", "bytes_read", "bytes_kept"}}; bytes of UTF-8, with the titles.
    """
    report = {}
    for title, text in _rows(path):
        article, reason = clean_article(title, text)
        counts = report.setdefault(reason or "kept", dict.fromkeys(("articles", "bytes_read", "bytes_kept"), 0))
        counts["articles"] += 1
        counts["bytes_read"] += len(f"{title}\n{text}".encode("utf-8", "replace"))
        counts["bytes_kept"] += len((article or "").encode("utf-8", "replace"))
    return report


def _rows(path):
    """Yield (title, text) of each row, reading a few at a time: a file of any size needs little memory."""
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


# What is mended inside the lines: (strings of which one must occur, a pattern, what takes its place). The brackets once held
# a name in another script, or its sound; they may stand in brackets, so they come twice.
BRACKETS = [
    (("(", "["), r'[(\[](?![,;][)\]])(?:""|[ ,;–])*[)\]]', ""),
    (("(", "["), r"([(\[])(?![,;][)\]])[ ,;]+", r"\1"),
    ((" )", ",)", ";)", " ]", ",]", ";]"), r"(?<![(\[])[ ,;]+([)\]])", r"\1"),
]
MENDED = [
    (("<",), r"<!--.*?-->|<ref[^<>/]*>[^<>]*</ref>|<ref[^<>]*$", ""),
    (("<",), r"</?(?:br|p|div|li|td|tr|th|hr)\b[^<>]*>", " "),
    (("<",), r"</?[a-zA-Z][^<>]*>", ""),
    (("{{", "__"), r"\{\{[^{}]*\}\}|__[A-Z]+__", ""),
    (("[[",), r"\[\[(?i:category|file|image):[^][]*\]\]", ""),
    (("[[",), r"\[\[(?:[^][|\n]*\|)?([^][|\n]*)\]\]", r"\1"),
    (("|",), r"^ *(?:(?:thumb(?:nail)?|frame(?:less)?|left|right|center|upright[=.\d]*|alt=[^|\n]*|\d*x?\d+ ?px)\|)+", ""),
    (("''",), r"'{2,}([^'\n]+)'{2,}", r"\1"),
    (("http", "www."), r'[("“]?(?:https?://|\bwww\.)[^\s"”<>()|]+[)"”]?', ""),
    *BRACKETS * 2,
    (("; ;", ", ,", "; ,", ", ;"), r"([,;])(?: [,;])+", r"\1"),
    (("  ",), r"  +", " "),
    ((" .", " ,", " ;"), r"(?<=[^.\s]) ([.,;])(?=\s|$)", r"\1"),
    ((". .",), r"(?<=\w\.) \.(?= [A-Z]| ?$)", ""),
]
MENDED = [(signs, re.compile(pattern, re.MULTILINE), replacement) for signs, pattern, replacement in MENDED]
TAIL = re.compile(
    r"(?i:references?|(?:foot)?notes?|citations|sources?|websites?|see also|(?:notes|references) and (?:notes|references)"
    r"|(?:other|more|external|related|further) (?:websites?|pages?|links?|sources?|reading)) ?[.:]?"
)
TABLE = re.compile(r'[|<]|\{\{|\}\}|">|\b(?:style|class|(?:col|row)span|v?align|bgcolor|scope) ?=')
ENDS = re.compile(r"""[.!?…:;。！？]["'”’)\]]*$""")
VERBS = set(
    "is are was were be been has have had do does did can may will won lost made became began took went said means".split()
)
MEANINGS = re.compile(  # "Mercury can mean:" and "Mercury may refer to the planet or the metal."
    r"\b(?:may|can|could|might) (?:also )?(?:refer|mean|stand for)\b(?:[^.]*[^.!?\"”)])?$|^[^.]*\bmay (?:also )?refer to\b"
)
CONTINUES = re.compile(r"""[a-z\d"“‘'(•*–-]""")  # how a paragraph starts that belongs to a colon before it
EMPTY = re.compile(r"^(?:[.,;:](?: |$))+")  # a sentence of which only the full stop is left
SENTENCES = re.compile(r"""(.*[.!?]["”’)]*) """)  # all whole sentences of a line


def clean_article(title, text):
    """Return (the title and a line per paragraph, None), or (None, the reason why the article is dropped).

    Reasons: "empty", "disambiguation", "list", "stub". Sentences stay as they are but for markup, empty brackets and spaces.
    Lines that are no prose go: tables, headings, lists, categories, and all that follows a heading such as "References".
    """
    title, text = " ".join((title or "").split()), _mend(text or "").strip()
    if not title or not text:
        return None, "empty"
    if title.endswith("(disambiguation)") or MEANINGS.search(text.split("\n", 1)[0].rstrip()):
        return None, "disambiguation"
    article = "\n".join([title, *_paragraphs(text)])
    is_list = title.startswith(("List of ", "Lists of ", "Index of "))
    if len(article) < (LIST_MINIMUM if is_list else MINIMUM):
        return None, "list" if is_list else "stub"
    return article, None


def _mend(text):
    for _ in range(2 if "&" in text else 0):  # twice: some text is escaped twice
        text = re.sub(r"&#?\w+;", lambda entity: html.unescape(entity[0]), text)
    if not text.isascii():
        text = re.sub("[\u200b-\u200f\u202a-\u202e\u2060\ufeff\xad]", "", text)  # what takes no room on the page
        text = re.sub("[\xa0\u2000-\u200a\u202f\u3000]", " ", text)
    text = "\n".join(text.expandtabs(1).splitlines())
    for signs, pattern, replacement in MENDED:
        if any(sign in text for sign in signs):
            text = pattern.sub(replacement, text)
    return text


def _paragraphs(text):
    """Return the lines of prose that stand before the references."""
    lines = []
    for line in text.split("\n"):
        line = EMPTY.sub("", line.strip())
        if TAIL.fullmatch(line.strip("=*# ")):
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
    if not line or line.startswith(("!", "=")) or TABLE.search(line):
        return False
    if not ENDS.search(line):
        return len(line) >= SHORT_LINE
    words = line.rstrip(".:!?").split()
    return len(words) > HEADING or any(word in VERBS or (word.endswith("ed") and word.islower()) for word in words[1:])

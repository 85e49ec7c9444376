"""The reading of parquet files in Wikipedia's form, and what the cleaning does to real text."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from helpers.data import read_articles, source_files
from helpers.wikipedia import MINIMUM, cleaning_report, read_parquet

STAND_IN = Path(__file__).resolve().parents[2] / "shared" / "wikipedia" / "train-00000-of-00001.mini.parquet"
FIRST = "The old bridge over the river was built of grey stone, and it is still used by the people of the two towns today."
LAST = (
    "In the winter the road is closed, because the snow lies deep on the mountain and no car can pass before the month of May."
)


def write_shard(path, titles, columns=("title", "text"), kind=str):
    """Write a parquet file in Wikipedia's form: one article of two paragraphs for each title."""
    rows = {name: [kind(i) for i in range(len(titles))] for name in ("id", "url", *columns)}
    if kind is str:
        rows |= {"title": titles, "text": [f"{FIRST}\n\n{LAST}\n\nReferences \n\nBridges"] * len(titles)}
    parquet.write_table(pa.table({name: rows[name] for name in ("id", "url", *columns)}), path)
    return path


def test_a_folder_of_shards_is_read_in_order(tmp_path):
    """The shards of English Wikipedia are read as one corpus, in the order of their names."""
    for shard in (1, 0, 2):
        write_shard(tmp_path / f"train-{shard:05}-of-00003.parquet", [f"Bridge {shard}{i}" for i in range(3)])
    articles = list(read_articles(source_files(tmp_path)))
    assert articles == [f"Bridge {shard}{i}\n{FIRST}\n{LAST}" for shard in range(3) for i in range(3)]


@pytest.mark.parametrize("fault", ["text", "cut", "damaged"])
def test_a_damaged_file_is_refused(tmp_path, fault):
    """A file that is no parquet, has lost its end or is damaged inside ends in a ValueError that names it."""
    path = write_shard(tmp_path / f"{fault}.parquet", [f"Bridge {i}" for i in range(500)])
    good, start = path.read_bytes(), parquet.read_metadata(path).row_group(0).column(3).dictionary_page_offset
    bad = {"text": b"Bridge\n" * 99, "cut": good[:-300], "damaged": good[:start] + bytes(100) + good[start + 100 :]}
    path.write_bytes(bad[fault])
    with pytest.raises(ValueError, match=rf"{fault}\.parquet is not a parquet file, or damaged"):
        list(read_parquet(path))


def test_a_file_without_title_and_text_is_refused(tmp_path):
    """The columns title and text must be there and hold strings; other columns do not matter."""
    for columns, kind in {("title",): str, ("text",): str, ("title", "text"): int}.items():
        path = write_shard(tmp_path / "other.parquet", ["Bridge"], columns, kind)
        with pytest.raises(ValueError, match="needs the columns title and text"):
            list(read_parquet(path))
    with pytest.raises(FileNotFoundError):
        list(read_parquet(tmp_path / "missing.parquet"))


def test_a_large_file_needs_little_memory(tmp_path):
    """A file is read piece by piece: of 30 MB of text not a quarter is in memory while its first articles are read."""
    titles, texts = [str(i) for i in range(3000)], [f"{i} {FIRST}\n{'x' * 10_000}" for i in range(3000)]
    parquet.write_table(pa.table({"title": titles, "text": texts}), tmp_path / "large.parquet", row_group_size=100)
    before, articles = pa.total_allocated_bytes(), read_parquet(tmp_path / "large.parquet")
    held = [pa.total_allocated_bytes() - before for _ in zip(range(150), articles, strict=False)]
    assert max(held) < sum(map(len, texts)) / 4


@pytest.fixture(scope="module")
def stand_in():
    """The articles of the stand-in file: the raw text by title, and the cleaned articles."""
    if not STAND_IN.is_file():
        pytest.skip("The real text of ../shared/wikipedia is not here.")
    table = parquet.read_table(STAND_IN, columns=["title", "text"]).to_pydict()
    return dict(zip(table["title"], table["text"], strict=True)), list(read_parquet(STAND_IN))


RESIDUE = [
    r"[|<]",
    r"[(\[][\s,;]{2,}[)\]]|\(\)|\[\]",
    r"[(\[] | [)\]]",
    r"  |\n\n",
    r"\w [.,;](?:\s|$)",
    r"https?://|www\.",
    r"[\u00a0\u200b\u200e\ufeff]",
    r"&\w+;",
    r"(?:colspan|style|class) ?=",
    r"\{\{|\}\}|\[\[|\]\]",
    r"(?mi)^(?:references|other websites|related pages|notes|sources|further reading|history|geography|early life)[.:]?$",
]


@pytest.mark.parametrize("residue", RESIDUE)
def test_no_residue_is_left_in_real_text(stand_in, residue):
    """The cleaned articles hold no tables, tags, empty brackets, double spaces, addresses, headings or blank lines."""
    bodies = (article.split("\n", 1)[1] for article in stand_in[1])
    assert [body[max(0, m.start() - 30) : m.end() + 30] for body in bodies for m in re.finditer(residue, body)] == []


def test_every_real_article_reaches_the_minimum(stand_in):
    """Nothing shorter than the minimum is kept, and each article has the title of its row."""
    raw, cleaned = stand_in
    assert min(map(len, cleaned)) >= MINIMUM
    assert all(article.split("\n", 1)[0] in raw for article in cleaned)


def test_real_sentences_are_not_altered(stand_in):
    """In text without residue nothing changes: each line that is kept stands in the raw text, and in the same order."""
    raw, cleaned = stand_in
    brackets = r"[(\[][ ,;–)\]\"]|[ ,;][)\]]"
    residue = re.compile(
        brackets + r"|  | [.,;]|^[.,;]|:\s*$|[<&|]|http|www|[\u00a0\u00ad\u2000-\u200f\u202f\u3000\ufeff]", re.M
    )
    lines, altered = 0, []
    for article in cleaned:
        title, *paragraphs = article.split("\n")
        if not residue.search(raw[title]):
            rest, lines = map(str.strip, raw[title].split("\n")), lines + len(paragraphs)
            altered += [line for line in paragraphs if line not in rest]  # `in` moves the iterator on
    assert altered == []
    assert lines > 10_000


def test_what_is_dropped_is_counted(stand_in):
    """Of the stand-in file most text is kept, though more than a quarter of the articles are stubs; the report adds up."""
    report = cleaning_report(STAND_IN)
    kept = report["kept"]
    assert sum(counts["articles"] for counts in report.values()) == len(stand_in[0])
    assert kept["articles"] == len(stand_in[1])
    assert kept["bytes_kept"] == sum(len(article.encode()) for article in stand_in[1])
    assert 0.68 < kept["articles"] / len(stand_in[0]) < 0.74
    assert 0.96 < kept["bytes_kept"] / kept["bytes_read"] < 0.99
    assert {reason: counts["bytes_kept"] for reason, counts in report.items() if reason != "kept"} == dict.fromkeys(
        ("stub", "disambiguation", "list", "empty"), 0
    )

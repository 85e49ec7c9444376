"""Reading, splitting and encoding a corpus."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
from articles import write_articles

from helpers.data import DATA, ENCYCLOPEDIA, is_validation, load_corpus, read_articles, source_files
from helpers.tokenizer import Tokenizer

THREE = "One\nFirst line.\nSecond line.\n\n\n  Two \nBody.\n\nThree\nEnd."


@pytest.mark.parametrize(
    ("suffix", "opener"), [("txt", open), ("txt.xz", lzma.open), ("txt.gz", gzip.open), ("txt.bz2", bz2.open)]
)
def test_articles_are_separated_by_blank_lines(tmp_path, suffix, opener):
    """Plain and compressed text files give the same articles, whatever the number of blank lines."""
    path = tmp_path / f"a.{suffix}"
    with opener(path, "wt", encoding="utf-8") as f:
        f.write(THREE)
    assert list(read_articles([path])) == ["One\nFirst line.\nSecond line.", "Two\nBody.", "Three\nEnd."]


def test_a_folder_is_read_in_order(tmp_path):
    """All text files of a folder are read, sorted by name; other files are left alone."""
    for name, text in {"b.txt": "B\nx.", "a.txt": "A\nx.", "notes.md": "# no"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(read_articles(source_files(tmp_path))) == ["A\nx.", "B\nx."]


def test_the_split_is_by_title_and_never_changes():
    """The part of an article depends on its title alone; these five are fixed for ever."""
    titles = ["Mount Fuji", "Rice", "Moon", "Glass", "Whale"]
    assert [is_validation(t) for t in titles] == [is_validation(t + "\nAnother body.") for t in titles]
    digests = {"Mount Fuji": False, "Rice": False, "Moon": False, "Glass": True, "Whale": False}
    assert {t: is_validation(t) for t in titles} == digests


def test_a_tenth_is_held_out():
    """Of many titles a tenth falls into the validation part."""
    share = np.mean([is_validation(f"Title {i}") for i in range(20_000)])
    assert share == pytest.approx(0.1, abs=0.01)


def test_no_article_is_in_both_parts(corpus, articles_file):
    """The two token files together hold every article once, each wholly in the part that its title decides."""
    end = corpus.tokenizer.end_id
    found = {}
    for part in ("train", "validation"):
        tokens = np.asarray(getattr(corpus, part))
        assert tokens[-1] == end
        articles = np.split(tokens, np.flatnonzero(tokens == end) + 1)[:-1]
        found[part] = [corpus.tokenizer.decode(a) for a in articles]
    everything = list(read_articles([articles_file]))
    assert found["train"] == [a for a in everything if not is_validation(a)]
    assert found["validation"] == [a for a in everything if is_validation(a)]


def test_the_tokenizer_is_trained_on_the_training_part_only(tmp_path):
    """A word that occurs only in held-out articles leaves no trace in a newly trained tokenizer."""
    path = write_articles(tmp_path / "a.txt")
    articles = list(read_articles([path]))
    text = "\n\n".join(a + " zzyzx" * 50 if is_validation(a) else a for a in articles)
    path.write_text(text, encoding="utf-8")
    pieces = load_corpus(path, vocab_size=320).tokenizer.pieces("zzyzx")
    assert len(pieces) == 6  # the space mark and five letters, or their bytes: nothing merged


def test_manifest_tells_the_origin(corpus, articles_file):
    """The manifest states files, hashes and counts that agree with the token files and the text."""
    manifest = corpus.manifest
    parts = manifest["parts"]
    assert manifest["files"] == [articles_file.name]
    assert len(manifest["key"]["source"]) == len(manifest["tokenizer_sha256"]) == 64
    assert [parts[p]["tokens"] for p in ("train", "validation")] == [len(corpus.train), len(corpus.validation)]
    articles = list(read_articles([articles_file]))
    assert sum(p["articles"] for p in parts.values()) == len(articles)
    assert sum(p["bytes"] for p in parts.values()) == sum(len(a.encode()) for a in articles)
    held_out = [a for a in articles if is_validation(a)]
    expected = sum(len(a.encode()) for a in held_out) / (sum(len(corpus.tokenizer.encode(a)) + 1 for a in held_out))
    assert corpus.bytes_per_token() == pytest.approx(expected)


def test_tokens_are_memory_mapped_uint16(corpus):
    """Tokens are stored in two bytes each and not read into memory."""
    assert isinstance(corpus.train, np.memmap) and corpus.train.dtype == np.uint16


def test_tokens_are_made_once(articles_file, monkeypatch):
    """A second call reads the cache and encodes nothing."""
    first = load_corpus(articles_file, vocab_size=320)
    monkeypatch.setattr(Tokenizer, "encode_batch", None)
    assert np.array_equal(load_corpus(articles_file, vocab_size=320).train, first.train)


def test_changed_text_gives_new_tokens(tmp_path):
    """The cache is keyed by the content: an edited file of the same name is encoded anew."""
    path = write_articles(tmp_path / "a.txt", seed=1)
    first = np.array(load_corpus(path, vocab_size=320).train)
    write_articles(path, seed=2)
    assert not np.array_equal(load_corpus(path, vocab_size=320).train, first)


def test_an_interrupted_encoding_leaves_nothing(tmp_path, monkeypatch):
    """Token files appear only when they are complete."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    path = write_articles(tmp_path / "a.txt")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.data._encode_chunk", fail)
    with pytest.raises(KeyboardInterrupt):
        load_corpus(path, vocab_size=320)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_given_tokenizer_is_used(tmp_path, corpus):
    """With a tokenizer's path, that tokenizer encodes the corpus."""
    model = tmp_path / "own.model"
    model.write_bytes(corpus.tokenizer.model_bytes)
    path = write_articles(tmp_path / "other.txt", seed=9)
    assert load_corpus(path, vocab_size=320, tokenizer=model).tokenizer.model_bytes == corpus.tokenizer.model_bytes


def test_the_shipped_corpus_uses_the_shipped_tokenizer():
    """The encyclopedia needs no training of a tokenizer, and its counts are those of data/README.md."""
    corpus = load_corpus("encyclopedia", 2048)
    assert corpus.tokenizer.model_bytes == (DATA / "tokenizers" / "encyclopedia-2048.model").read_bytes()
    parts = corpus.manifest["parts"]
    card = (DATA / "README.md").read_text(encoding="utf-8")
    for part in parts.values():
        for count in part.values():
            assert f"{count:,}" in card
    assert json.dumps(corpus.manifest)


def missing(tmp_path):
    return tmp_path / "nowhere.txt"


def empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def strange_suffix(tmp_path):
    (tmp_path / "a.docx").write_text("x", encoding="utf-8")
    return tmp_path / "a.docx"


def latin1(tmp_path):
    (tmp_path / "l.txt").write_bytes("Café\nOlé.".encode("latin-1"))
    return tmp_path / "l.txt"


def cut_archive(tmp_path):
    (tmp_path / "c.txt.xz").write_bytes(lzma.compress(THREE.encode() * 50)[:-30])
    return tmp_path / "c.txt.xz"


def one_article(tmp_path):
    (tmp_path / "o.txt").write_text("Only\n" + "word and other words " * 400, encoding="utf-8")
    return tmp_path / "o.txt"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (missing, "There is no data at .*name a file or folder"),
        (empty_folder, "holds no .txt"),
        (strange_suffix, "I can read .txt"),
        (latin1, "is not UTF-8 text .* save it as UTF-8"),
        (cut_archive, "is damaged or incomplete"),
        (one_article, "too few to split|No tokenizer"),
    ],
)
def test_bad_input_gets_a_sentence(tmp_path, make, sentence):
    """Each kind of unusable input is named, with what to do."""
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load_corpus(make(tmp_path), vocab_size=300)


def test_a_missing_tokenizer_gets_a_sentence(articles_file):
    """A tokenizer that is not there is named."""
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        load_corpus(articles_file, 320, tokenizer="nowhere.model")


def test_the_encyclopedia_is_found_from_any_folder(tmp_path, monkeypatch):
    """Data paths start from the package's own file, not from the working folder."""
    monkeypatch.chdir(tmp_path)
    assert source_files("encyclopedia")[0].parent == ENCYCLOPEDIA

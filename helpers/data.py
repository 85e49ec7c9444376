"""Corpora, the split by article, token files and batches (notebooks 01 and 05)."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from helpers import wikipedia
from helpers.tokenizer import Tokenizer, train_tokenizer

DATA = Path(__file__).resolve().parent.parent / "data"
ENCYCLOPEDIA = DATA / "encyclopedia"
TOKENIZERS = DATA / "tokenizers"
PROMPT = "The mountain in my city is"  # carried through the whole course
OPENERS = {".txt": open, ".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
FORMAT = 1  # raise it when articles are read, split or encoded in another way: token files are then made anew
CHUNK = 2000  # articles encoded at a time, which bounds the memory


def cache_folder():
    """Return the folder of downloads and token files: data/cache, or where the environment variable COURSE_CACHE points."""
    return Path(os.environ.get("COURSE_CACHE", DATA / "cache"))


@dataclass(frozen=True)
class Corpus:
    """A corpus cut into tokens: `train` and `validation` are memory-mapped uint16 arrays, `manifest` tells their origin."""

    name: str
    tokenizer: Tokenizer
    train: np.ndarray
    validation: np.ndarray
    manifest: dict

    def bytes_per_token(self, part="validation"):
        """Return how many bytes of text one token of `part` stands for on average."""
        counts = self.manifest["parts"][part]
        return counts["bytes"] / counts["tokens"]


def source_files(data):
    """Return the files of a corpus: "encyclopedia" (shipped), "wikipedia" (downloaded once), or any file or folder."""
    if str(data) == "wikipedia":
        return [wikipedia.fetch(cache_folder())]
    path = ENCYCLOPEDIA if str(data) == "encyclopedia" else Path(data).expanduser()
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in (*OPENERS, ".parquet"))
        if not files:
            raise FileNotFoundError(f"The folder {path} holds no .txt, .txt.xz, .txt.gz, .txt.bz2 or .parquet file.")
        return files
    if not path.is_file():
        raise FileNotFoundError(f'There is no data at {path}: name a file or folder, "encyclopedia" or "wikipedia".')
    if path.suffix not in (*OPENERS, ".parquet"):
        raise ValueError(f"{path}: I can read .txt (also .xz, .gz, .bz2) and .parquet files, not {path.suffix or 'this'}.")
    return [path]


def read_articles(files):
    """Yield the articles of text or parquet files one by one: title line, then a line per paragraph.

    In a text file a blank line ends an article. Parquet files have columns title and text and are cleaned
    (`helpers.wikipedia.clean_article`). Raises ValueError for a file that is damaged or not UTF-8.
    """
    for file in map(Path, files):
        try:
            if file.suffix == ".parquet":
                yield from wikipedia.read_parquet(file)
            else:
                with OPENERS[file.suffix](file, "rt", encoding="utf-8") as lines:
                    yield from _blocks(lines)
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8.") from error
        except (lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{file} is damaged or incomplete ({error}): fetch it again.") from error


def read_text(file):
    """Return the whole text of a file (.txt, or compressed), as it is."""
    with OPENERS[Path(file).suffix](file, "rt", encoding="utf-8", newline="") as f:
        return f.read()


def _blocks(lines):
    block = []
    for line in lines:
        if line.strip():
            block.append(line.strip())
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def is_validation(article):
    """Tell whether an article belongs to the 10 % held out: decided by a hash of its title, so it never changes.

    Notebook 01, "Training and validation".
    """
    title = article.split("\n", 1)[0]
    return int.from_bytes(hashlib.sha256(title.encode("utf-8", "replace")).digest()[:8], "big") % 10 == 0


def shipped_tokenizer(data, vocab_size):
    """Return the path where the tokenizer of a named corpus ships: data/tokenizers/NAME-SIZE.model."""
    return TOKENIZERS / f"{data}-{vocab_size}.model"


def pick_tokenizer(data, files, vocab_size):
    """Return the shipped tokenizer of this corpus and size, or one trained on its training articles."""
    path = shipped_tokenizer(data, vocab_size)
    if str(data) in ("encyclopedia", "wikipedia") and path.is_file():
        return Tokenizer.load(path)
    return train_tokenizer((a for a in read_articles(files) if not is_validation(a)), vocab_size)


def load_corpus(data="encyclopedia", vocab_size=2048, tokenizer=None):
    """Return a `Corpus`, encoded once and then found in the cache.

    data: see `source_files`. tokenizer: path of a .model file; without it, see `pick_tokenizer`. Raises
    FileNotFoundError or ValueError with a sentence that says what is missing or wrong.
    """
    files = source_files(data)
    name = str(data) if str(data) in ("encyclopedia", "wikipedia") else Path(data).name.split(".")[0]
    own = Path(tokenizer) if tokenizer else shipped_tokenizer(data, vocab_size)
    key = {"format": FORMAT, "vocab_size": vocab_size, "source": _sha256(files)}
    key["tokenizer"] = _sha256([own]) if own.is_file() else "trained"
    if tokenizer and not own.is_file():
        raise FileNotFoundError(f"There is no tokenizer at {own}.")
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{vocab_size}-{digest}"
    if not (folder / "manifest.json").is_file():
        made = Tokenizer.load(tokenizer) if tokenizer else pick_tokenizer(data, files, vocab_size)
        origin = {"source": wikipedia.SOURCE} if name == "wikipedia" else {}
        _write_tokens(folder, files, made, {"name": name, "files": [f.name for f in files], **origin, "key": key})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    parts = [np.memmap(folder / f"{part}.bin", dtype=np.uint16, mode="r") for part in ("train", "validation")]
    return Corpus(name, Tokenizer.load(folder / "tokenizer.model"), *parts, manifest)


def _sha256(files):
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    return total.hexdigest()


def _write_tokens(folder, files, tokenizer, manifest):
    """Encode all articles into folder/train.bin and validation.bin; the folder appears only when it is complete."""
    if tokenizer.vocab_size > 2**16:
        raise ValueError(f"A vocabulary of {tokenizer.vocab_size} does not fit into uint16: take at most 65,536 tokens.")
    work = folder.with_name(f"{folder.name}.part{os.getpid()}")
    work.mkdir(parents=True, exist_ok=True)
    parts = {part: {"articles": 0, "bytes": 0, "tokens": 0} for part in ("train", "validation")}
    try:
        with open(work / "train.bin", "wb") as train, open(work / "validation.bin", "wb") as validation:
            outputs, chunk = {"train": train, "validation": validation}, []
            for article in read_articles(files):
                chunk.append(article)
                if len(chunk) == CHUNK:
                    _encode_chunk(chunk, tokenizer, outputs, parts)
                    chunk = []
            _encode_chunk(chunk, tokenizer, outputs, parts)
        if not parts["train"]["tokens"] or not parts["validation"]["tokens"]:
            articles = sum(p["articles"] for p in parts.values())
            raise ValueError(
                f"{', '.join(map(str, files))} holds {articles} article(s), too few to split into training and validation: "
                "articles are separated by blank lines, and about every tenth is held out."
            )
        (work / "tokenizer.model").write_bytes(tokenizer.model_bytes)
        manifest = {**manifest, "tokenizer_sha256": hashlib.sha256(tokenizer.model_bytes).hexdigest(), "parts": parts}
        (work / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        try:
            work.rename(folder)
        except OSError:  # another process was faster; its files are the same
            if not (folder / "manifest.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _encode_chunk(articles, tokenizer, outputs, parts):
    for article, ids in zip(articles, tokenizer.encode_batch(articles), strict=True):
        part = "validation" if is_validation(article) else "train"
        ids.append(tokenizer.end_id)
        np.array(ids, dtype=np.uint16).tofile(outputs[part])
        parts[part]["articles"] += 1
        parts[part]["bytes"] += len(article.encode("utf-8", "replace"))
        parts[part]["tokens"] += len(ids)


class Batches:
    """Shuffled windows of a token array: batch number i is always the same, so its number is the whole position.

    In each epoch every window of `context` tokens comes once, in a new order, the cuts moved by a random offset.
    With several processes each takes its own rows of a batch that is `world` times as large. Notebook 05, "Batches".
    """

    def __init__(self, tokens, context, batch_size, seed=0, device="cpu", rank=0, world=1):
        self.n_windows = (len(tokens) - context) // context  # leaves room for the offset and the last target
        if self.n_windows < 1:
            raise ValueError(f"{len(tokens)} tokens are too few for windows of {context}: take more text or a shorter context.")
        self.context, self.batch_size, self.seed = context, batch_size, seed
        self.device, self.rank, self.world = device, rank, world
        # On a GPU the whole corpus lies in its memory; on a CPU it stays on the disk.
        self.tokens = tokens if device == "cpu" else torch.from_numpy(tokens.astype(np.int32)).to(device)
        self.orders = {}

    def _order(self, epoch):
        if epoch not in self.orders:
            random = np.random.default_rng((self.seed, epoch))
            starts = random.integers(self.context) + self.context * random.permutation(self.n_windows)
            self.orders = {e: order for e, order in self.orders.items() if e == epoch - 1} | {epoch: starts}
        return self.orders[epoch]

    def get(self, i):
        """Return batch number i: inputs and targets, (B, T) int64 each; targets are the inputs one token later."""
        first = (i * self.world + self.rank) * self.batch_size
        rows = (divmod(row, self.n_windows) for row in range(first, first + self.batch_size))
        starts = np.array([self._order(epoch)[k] for epoch, k in rows])  # (B,)
        where = starts[:, None] + np.arange(self.context + 1)  # (B, T + 1)
        if self.device == "cpu":
            window = torch.from_numpy(self.tokens[where].astype(np.int64))
        else:
            window = self.tokens[torch.from_numpy(where).to(self.device)].long()
        return window[:, :-1], window[:, 1:]

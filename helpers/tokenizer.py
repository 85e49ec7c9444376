"""Training and using a SentencePiece tokenizer (notebook 01)."""

import io
import random
import re
from pathlib import Path

import sentencepiece as spm

END = "<end>"  # the token that stands after every article


class Tokenizer:
    """Text to token ids and back, without loss (notebook 01, "SentencePiece").

    Each line is encoded on its own, with a newline token between lines: so a word at the start of a paragraph is the same
    token as inside it. Any Unicode text comes back exactly (the one exception is U+2581, SentencePiece's own mark for a
    space), because nothing is normalised and a character outside the vocabulary falls back to its bytes.
    """

    def __init__(self, model_bytes):
        """Make a tokenizer from the bytes of a SentencePiece model; ValueError if they are not one of this course."""
        self.model_bytes = bytes(model_bytes)
        try:
            if not self.model_bytes:
                raise RuntimeError("empty")
            self.sp = spm.SentencePieceProcessor(model_proto=self.model_bytes)
        except RuntimeError as error:
            raise ValueError("These bytes are not a SentencePiece model.") from error
        self.vocab_size = self.sp.vocab_size()
        self.end_id = self.sp.piece_to_id(END)
        self.newline_id = self.sp.piece_to_id("<0x0A>")
        if not (self.sp.is_control(self.end_id) and self.sp.is_byte(self.newline_id)):
            raise ValueError(f"This SentencePiece model has no {END} token or no byte fallback: train one with this course.")

    @classmethod
    def load(cls, path):
        """Load a tokenizer from a .model file; FileNotFoundError or ValueError, with a sentence, if that can't be done."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no tokenizer at {path}.")
        try:
            return cls(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def encode(self, text):
        """Return the token ids of `text`, a list of int. A lone surrogate, which is not valid Unicode, becomes U+FFFD."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts, threads=-1):
        """Return the token ids of each text. threads: -1 for one per core."""
        lines = [valid_text(text).split("\n") for text in texts]
        flat = iter(self.sp.encode([line for text in lines for line in text], num_threads=threads))
        encoded = []
        for text in lines:
            ids = next(flat)
            for _ in text[1:]:
                ids.append(self.newline_id)
                ids.extend(next(flat))
            encoded.append(ids)
        return encoded

    def decode(self, ids):
        """Return the text of token ids (any sequence of int). Control tokens are left out; half a character shows as U+FFFD.

        Raises ValueError for an id outside the vocabulary.
        """
        lines = [[]]
        for i in map(int, ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(
                    f"Token id {i} is outside the vocabulary of {self.vocab_size} tokens (0 to {self.vocab_size - 1})."
                )
            if i == self.newline_id:
                lines.append([])
            else:
                lines[-1].append(i)
        return "\n".join(self.sp.decode(line) for line in lines)

    def pieces(self, text):
        """Return the tokens of `text` as strings; `▁` marks the space before a word, `<0x0A>` is the newline."""
        return [self.sp.id_to_piece(i) for i in self.encode(text)]


def valid_text(text):
    """Return the text with U+FFFD in the place of every half of a surrogate pair, which is no character and has no UTF-8."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def sample_lines(lines, n):
    """Return n of the lines, each as likely as any other, always the same ones; or all, if there are no more."""
    rng, kept = random.Random(0), []
    for i, line in enumerate(lines):
        if i < n:
            kept.append(line)
        elif (k := rng.randrange(i + 1)) < n:
            kept[k] = line
    return kept


def train_tokenizer(texts, vocab_size, model_type="bpe", max_lines=1_000_000):
    """Train SentencePiece on an iterable of texts and return a `Tokenizer` with `vocab_size` tokens.

    model_type: bpe or unigram. At most `max_lines` lines are taken, at random. The same texts give the same tokenizer.
    Raises ValueError if the text is too small for so large a vocabulary. Kudo and Richardson 2018; notebook 01.
    """
    lines = (line for text in texts for line in valid_text(text).split("\n") if line)
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(sample_lines(lines, max_lines)),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            character_coverage=0.9995,
            unk_id=0,
            eos_id=1,
            eos_piece=END,
            bos_id=-1,
            pad_id=-1,
            max_sentence_length=2**16,  # bytes; longer lines are left out
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(f"No tokenizer of {vocab_size} tokens can be trained on this text: {error}") from error
    return Tokenizer(model.getvalue())

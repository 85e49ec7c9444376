"""The tokenizer (notebook 01): text comes back, lines are encoded on their own, and bad files get a sentence."""

import inspect
import io
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece as spm

from helpers.tokenizer import END, Tokenizer, train_tokenizer

SIZE = 320
TEXTS = [
    "",
    " ",
    "\n",
    "\n\n\n",
    "The old mountain has snow.",
    "  two  spaces   and three, at both ends   ",
    "a line\nanother\n\n one with a space before it\nlast\n",
    "tabs\tand\t\ttabs, \r\n and returns\r",
    "\x00\x01\x07\x1b\x7f\x85\u2028\u2029\ufeff\u200b\u00a0",
    "①②③ ﬁne ﬂat Ｆｕｌｌ ½ Å Å e\u0301 é ª",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 山は高い हिन्दी العربية \U0010ffff",
    "<end> <unk> <s> <0x41> <0x0A>",
    "\ufffd the replacement character itself \ufffd",
]


@pytest.fixture(scope="module")
def text(articles_file):
    """The text that the tokenizers of these tests are trained on."""
    return articles_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request, text):
    """A tokenizer of each kind."""
    return train_tokenizer([text], SIZE, request.param)


@pytest.fixture
def foreign(text):
    """A function that trains a SentencePiece model with other options than the course's, and returns its bytes."""

    def train(**options):
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(text.splitlines()), model_writer=model, vocab_size=SIZE, minloglevel=2, **options
        )
        return model.getvalue()

    return train


def merged(sp, line):
    """Byte pair encoding by hand: merge, again and again, the pair of neighbours that was learned first."""
    symbols = list("▁" + line.replace(" ", "▁"))
    known = {sp.id_to_piece(i): i for i in range(sp.vocab_size())}
    while pairs := [(known[a + b], i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in known]:
        _, i = min(pairs)
        symbols[i : i + 2] = ["".join(symbols[i : i + 2])]
    return symbols


# Round trips


@pytest.mark.parametrize("string", TEXTS, ids=ascii)
def test_text_comes_back_exactly(tokenizer, string):
    """Spaces, line breaks, control characters, compatibility forms, emoji and rare scripts: nothing is normalised or lost."""
    ids = tokenizer.encode(string)
    assert tokenizer.decode(ids) == string
    assert all(type(i) is int and 0 <= i < SIZE for i in ids)


@pytest.mark.parametrize("surrogate", ["\ud800", "\udfff", "\ud83d", "\udc00\ud800"])
def test_lone_surrogates_become_the_replacement_character(tokenizer, surrogate):
    """Half of a surrogate pair, which is not valid Unicode, raises nothing and comes back as U+FFFD."""
    assert tokenizer.decode(tokenizer.encode(f"a {surrogate}b\n{surrogate}")) == "a {0}b\n{0}".format("\ufffd" * len(surrogate))


def test_the_mark_of_sentencepiece_becomes_a_space(tokenizer):
    """U+2581 is the one character that does not come back: it is SentencePiece's own sign for a space."""
    assert tokenizer.decode(tokenizer.encode("▁a▁▁b\n▁")) == " a  b\n "


# Lines and words


def test_newline_is_one_token_and_every_line_starts_like_a_text(tokenizer):
    """Lines are encoded on their own, with one token between them: a word has the same ids first, or first in a line."""
    newline = tokenizer.newline_id
    assert tokenizer.encode("\n") == [newline] and tokenizer.pieces("\n") == ["<0x0A>"]
    one, two = tokenizer.encode("The old mountain"), tokenizer.encode("snow and ice")
    assert tokenizer.encode("The old mountain\nsnow and ice") == [*one, newline, *two]
    assert tokenizer.encode("The old mountain\n\nsnow and ice\n") == [*one, newline, newline, *two, newline]
    assert newline not in one + two


@pytest.mark.parametrize("word", ["mountain", "The", "house", "xyz", "山"])
def test_a_word_has_the_same_ids_inside_a_line_and_at_its_start(tokenizer, word):
    """A word after a space is encoded as at the start of a paragraph."""
    ids = tokenizer.encode(word)
    assert tokenizer.encode(f"the {word}")[-len(ids) :] == ids == tokenizer.encode(f"the\n{word}")[-len(ids) :]


def test_segmentation_of_a_line_is_sentencepieces(tokenizer, text):
    """A line's ids are those that SentencePiece itself gives; pieces() are their names."""
    sp = spm.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
    for line in {*text.splitlines(), *(t for t in TEXTS if "\n" not in t)}:
        assert tokenizer.encode(line) == sp.encode(line)
        assert tokenizer.pieces(line) == sp.encode(line, out_type=str)


def test_bpe_is_merging_the_pair_learned_first(text):
    """The pieces of a line equal those of byte pair encoding written out by hand."""
    tokenizer = train_tokenizer([text], SIZE)
    lines = text.splitlines()[:30]
    assert [tokenizer.pieces(line) for line in lines if line] == [merged(tokenizer.sp, line) for line in lines if line]


@pytest.mark.parametrize("threads", [1, 2, 5, -1])
def test_encode_batch_equals_one_text_at_a_time(tokenizer, text, threads):
    """A batch gives each text's own ids, in order, with any number of threads."""
    texts = TEXTS + text.split("\n\n")
    assert tokenizer.encode_batch(texts, threads) == [tokenizer.encode(t) for t in texts]
    assert tokenizer.encode_batch([], threads) == []


# The end-of-article token, and ids


def test_end_is_a_control_token_that_no_text_produces(tokenizer):
    """<end> is in the vocabulary as a control token; its literal text is encoded as characters."""
    assert tokenizer.sp.id_to_piece(tokenizer.end_id) == END and tokenizer.sp.is_control(tokenizer.end_id)
    for string in (END, f"the city{END}", f"the city {END} is\n{END}", f"{END}{END}"):
        assert tokenizer.end_id not in tokenizer.encode(string)


def test_decode_leaves_control_tokens_out(tokenizer):
    """The end-of-article token has no text, wherever it stands; any sequence of whole numbers can be decoded."""
    ids, end = tokenizer.encode("the city\nis old"), tokenizer.end_id
    assert tokenizer.decode([end, *ids, end]) == tokenizer.decode(np.array(ids, dtype=np.uint16)) == "the city\nis old"
    assert tokenizer.decode([*tokenizer.encode("a"), end, *tokenizer.encode("b")]) == "a b"
    assert tokenizer.decode([]) == tokenizer.decode([end]) == ""


@pytest.mark.parametrize("bad", [-1, SIZE, 10**6])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer, bad):
    """Decoding an id that no token has raises ValueError with the id and the size of the vocabulary."""
    with pytest.raises(ValueError, match=rf"{bad} is outside the vocabulary of {SIZE} tokens"):
        tokenizer.decode([5, bad])


def test_half_a_character_is_decoded_as_the_replacement_character(tokenizer):
    """Bytes that make no character show as U+FFFD, and are a character again when the rest comes."""
    ids = tokenizer.encode("a 山")
    assert tokenizer.decode(ids) == "a 山"
    for cut in (-1, -2):
        assert set(tokenizer.decode(ids[:cut]).removeprefix("a ")) == {"\ufffd"}
        assert tokenizer.decode(ids[:cut] + tokenizer.encode("\nb")).endswith("\ufffd\nb")


# Training and loading


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
@pytest.mark.parametrize("size", [310, 333])
def test_training_gives_the_size_asked_for_and_the_same_bytes_again(text, model_type, size):
    """The vocabulary has exactly the size asked for, and the same texts give the same file."""
    first, second = (train_tokenizer([text], size, model_type) for _ in range(2))
    assert first.vocab_size == size == len({first.sp.id_to_piece(i) for i in range(size)})
    assert first.model_bytes == second.model_bytes


def test_max_lines_takes_a_sample_of_the_whole_text(text):
    """Of more than max_lines lines, those trained on come from all of the text, and are the same ones every time."""
    first, second = (train_tokenizer([text, "ZEBRA QUIZ\n" * 400], SIZE, max_lines=150) for _ in range(2))
    assert {"Z", "▁Z", "Q", "▁Q"} & {first.sp.id_to_piece(i) for i in range(SIZE)}
    assert first.model_bytes == second.model_bytes


def test_another_process_trains_the_same_bytes(articles_file):
    """The same text gives the same file in another run of Python, also when only a sample of its lines is taken."""
    code = (
        "import sys, pathlib, helpers.tokenizer as t; text = pathlib.Path(sys.argv[1]).read_text(encoding='utf-8');"
        "sys.stdout.buffer.write(t.train_tokenizer([text], 320, max_lines=150).model_bytes)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(inspect.getfile(Tokenizer)).parent.parent), "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code, articles_file], env=env, capture_output=True, check=True).stdout
    assert other == train_tokenizer([articles_file.read_text(encoding="utf-8")], SIZE, max_lines=150).model_bytes


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_vocabulary_that_does_not_fit_the_text_is_refused(text, size):
    """Too many tokens for so little text, or too few for its characters, raise ValueError that names the number."""
    with pytest.raises(ValueError, match=f"No tokenizer of {size} tokens can be trained"):
        train_tokenizer([text], size)


def test_no_text_at_all_is_refused():
    """Training on nothing raises ValueError."""
    with pytest.raises(ValueError, match="can be trained on this text"):
        train_tokenizer([], SIZE)


def test_a_saved_tokenizer_loads_as_it_was(tokenizer, tmp_path):
    """The bytes written to a file and loaded give the same ids."""
    path = tmp_path / "größer 山.model"
    path.write_bytes(tokenizer.model_bytes)
    loaded = Tokenizer.load(path)
    assert loaded.model_bytes == tokenizer.model_bytes
    assert loaded.encode_batch(TEXTS) == Tokenizer.load(str(path)).encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


@pytest.mark.parametrize("name", ["nowhere.model", "."])
def test_a_missing_file_is_named(tmp_path, name):
    """A path where there is no file raises FileNotFoundError with the path."""
    with pytest.raises(FileNotFoundError, match="There is no tokenizer at") as caught:
        Tokenizer.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000), "half"], ids=["empty", "text", "zeros", "half a model"])
def test_a_file_that_is_no_model_is_refused(tokenizer, tmp_path, content):
    """A file that is empty, foreign or cut short raises ValueError with its path and a sentence."""
    path = tmp_path / "broken.model"
    path.write_bytes(tokenizer.model_bytes[: len(tokenizer.model_bytes) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match=r"broken\.model: These bytes are not a SentencePiece model"):
        Tokenizer.load(path)


@pytest.mark.parametrize("options", [{"eos_piece": END}, {"byte_fallback": True}], ids=["no byte fallback", "no end token"])
def test_a_sentencepiece_model_of_another_kind_is_refused(foreign, tmp_path, options):
    """A SentencePiece model without byte fallback, or without the end-of-article token, raises ValueError with a sentence."""
    path = tmp_path / "other.model"
    path.write_bytes(foreign(**options, model_type="bpe"))
    with pytest.raises(ValueError, match=r"other\.model: .* has no <end> token or no byte fallback"):
        Tokenizer.load(path)

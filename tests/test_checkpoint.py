"""Checkpoints: whole or not at all, and never trusted blindly (helpers/checkpoint.py; notebook 05, "Checkpoints")."""

import errno
import hashlib
import io
import os
import pickle
import random
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
import torch

from helpers import checkpoint
from helpers.checkpoint import CheckpointError, load_checkpoint, load_model, pack_tokenizer, save_checkpoint
from helpers.recipe import TrainConfig
from helpers.tokenizer import train_tokenizer
from helpers.training import Run


@pytest.fixture
def run(small_config, corpus, cpu, tmp_path):
    """A run of two steps, with dropout."""
    config = TrainConfig(batch_size=2, train_iters=10, lr=1e-2)
    run = Run(replace(small_config, dropout=0.1), config, corpus, tmp_path, cpu)
    for _ in range(2):
        run.train_step()
    return run


@pytest.fixture
def path(run):
    """The checkpoint of that run."""
    run.save("latest.pt")
    return run.out / "latest.pt"


def sealed(content):
    """Bytes with their SHA-256 at the end, as our files have it."""
    return content + hashlib.sha256(content).digest()


def saved(state, **options):
    """A state as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def assert_refused(path, match=""):
    """Both ways to load it refuse the file, with an error that names it."""
    for load in (load_checkpoint, load_model):
        with pytest.raises(CheckpointError, match=re.escape(str(path)) + ".*" + match):
            load(path)


def assert_same(a, b):
    """Two values of a state are equal to the bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert_same(list(a.values()), list(b.values()))
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


# What is written comes back


def test_round_trip_is_exact(run, path):
    """Model, optimiser, settings, position, random states and tokenizer come back equal to the bit."""
    state = load_checkpoint(path)
    assert_same(state["model"], dict(run.model.state_dict()))
    assert_same(state["optimizer"], run.optimizer.state_dict())
    assert_same(state["random"], {"cpu": torch.get_rng_state()})
    assert state["step"] == 2 and state["train_config"] == run.config.__dict__
    assert state["model_config"] == run.model.config.__dict__
    assert bytes(state["tokenizer"].tolist()) == run.corpus.tokenizer.model_bytes


def test_round_trip_of_plain_values(tmp_path):
    """Numbers, strings, None, tuples, and tensors of every kind, infinities and NaN among them, come back exactly."""
    values = {"n": 3, "x": 0.1, "none": None, "text": "Zürich 山\n", "pair": (0.9, 0.99), "rows": [{"a": 1}, {}], "flag": True}
    tensors = [
        torch.tensor([float("nan"), float("-inf"), -0.0]),
        torch.arange(5, dtype=torch.uint8),
        torch.ones(2, 2).bfloat16(),
    ]
    save_checkpoint(tmp_path / "a.pt", {**values, "tensors": tensors})
    state = load_checkpoint(tmp_path / "a.pt")
    assert_same({name: state[name] for name in values}, values)
    assert [saved(t) for t in state["tensors"]] == [saved(t) for t in tensors]


def test_load_model_gives_the_model_and_its_tokenizer(run, path):
    """load_model returns the model in evaluation mode, with the same logits, and the tokenizer it was trained with."""
    model, tokenizer = load_model(path)
    idx = run.batches.get(0)[0]
    assert not any(module.training for module in model.modules())
    assert torch.equal(model(idx), run.model.eval()(idx))
    assert model.head.weight is model.token_embedding.weight
    assert tokenizer.encode("A stone bridge.\nSnow") == run.corpus.tokenizer.encode("A stone bridge.\nSnow")


# A disk that fills up


class FullFile(io.FileIO):
    """A file on a disk with room for a thousand bytes."""

    def write(self, data):
        super().write(bytes(data[:1000]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {
    "open": lambda patch: patch.setattr(checkpoint, "open", full_disk, raising=False),
    "write": lambda patch: patch.setattr(checkpoint, "open", FullFile, raising=False),
    "fsync": lambda patch: patch.setattr(os, "fsync", full_disk),
    "replace": lambda patch: patch.setattr(os, "replace", full_disk),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch, fault, first):
    """Wherever writing fails, the error names the file, the file before is whole, and nothing half-written remains."""
    path, before = tmp_path / "latest.pt", {"x": torch.arange(1000)}
    if not first:
        save_checkpoint(path, before)
    content = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with (
        monkeypatch.context() as patch,
        pytest.raises(CheckpointError, match=re.escape(f"{path} could not be written (No space")),
    ):
        FAULTS[fault](patch)
        save_checkpoint(path, {"x": torch.zeros(1000)})
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == content
    save_checkpoint(path, {"x": torch.ones(3)})  # with room again, all is well
    assert load_checkpoint(path)["x"].tolist() == [1.0, 1.0, 1.0]


LIMITED = """
import os, resource, signal, sys, torch
from helpers.checkpoint import CheckpointError, save_checkpoint
path, fault = sys.argv[1:]
save_checkpoint(path, {"x": torch.arange(1000)})
if fault == "limit":  # the system itself refuses to make a file larger
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
else:  # killed when everything is written, but not yet in place
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
try:
    save_checkpoint(path, {"x": torch.zeros(100_000)})
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither resource limits nor SIGKILL")
@pytest.mark.parametrize(
    ("fault", "returncode", "files"), [("limit", 0, ["latest.pt"]), ("kill", -9, ["latest.pt", "latest.pt.part"])]
)
def test_a_real_limit_and_a_real_kill_leave_the_previous_checkpoint(tmp_path, fault, returncode, files):
    """A write that the system refuses, and a process killed while it writes, leave the file before whole."""
    path = tmp_path / "latest.pt"
    child = subprocess.run([sys.executable, "-c", LIMITED, path, fault], capture_output=True, encoding="utf-8", timeout=100)
    assert child.returncode == returncode, child.stderr
    assert (f"{path} could not be written (File too large)" in child.stdout) == (fault == "limit")
    assert sorted(f.name for f in tmp_path.iterdir()) == files
    assert torch.equal(load_checkpoint(path)["x"], torch.arange(1000))


# Files that are refused


def test_missing_files_and_folders_are_refused(tmp_path):
    """A file that is not there, and a folder, are refused by name."""
    assert_refused(tmp_path / "nowhere" / "latest.pt", "cannot be read: No such file")
    assert_refused(tmp_path, "cannot be read")


def test_a_truncated_file_is_refused(path):
    """Cut off at twenty places, from nothing left to one byte missing, it is refused."""
    content = path.read_bytes()
    for length in [0, 1, 2, 31, 32, 33, len(content) - 32, len(content) - 1, *(len(content) * k // 13 for k in range(1, 13))]:
        path.write_bytes(content[:length])
        assert_refused(path)


def test_every_flipped_bit_is_refused(path):
    """Of 400 single flipped bits, spread over the whole of a real checkpoint, 400 are refused."""
    content, refused = bytearray(path.read_bytes()), 0
    places = [len(content) * k // 400 for k in range(399)] + [len(content) - 1]
    for place in places:
        bit = 1 << random.Random(place).randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            load_checkpoint(path)
        refused += 1
        content[place] ^= bit
    print(f"{refused} of {len(set(places))} flipped bits were refused")
    assert refused == len(set(places)) == 400


def a_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.txt", "no checkpoint")
    return buffer.getvalue()


FOREIGN = {
    "text": b"iteration,train_loss\n" * 50,
    "text with a digest": sealed(b"iteration,train_loss\n" * 50),
    "zip": a_zip(),
    "zip with a digest": sealed(a_zip()),
    "another project": saved({"model": {"weight": torch.ones(3)}, "epoch": 3}),
    "another project with a digest": sealed(saved({"model": {"weight": torch.ones(3)}, "epoch": 3})),
    "a bare tensor with a digest": sealed(saved(torch.ones(3))),
    "another format with a digest": sealed(saved({"format": "language-model-course-0"})),
    "digest only": sealed(b""),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(tmp_path, kind):
    """Files that are no checkpoint of this course are refused, a correct digest or not."""
    (tmp_path / "other.pt").write_bytes(FOREIGN[kind])
    assert_refused(tmp_path / "other.pt", "is (not a checkpoint|damaged)|holds something other")


class Malicious:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


WRAPPINGS = {
    "raw pickle": pickle.dumps,
    "pickle with a digest": lambda evil: sealed(pickle.dumps(evil)),
    "torch.save": saved,
    "our format": lambda evil: sealed(saved({"format": checkpoint.FORMAT, "model": evil})),
    "our format, nested": lambda evil: sealed(saved({"format": checkpoint.FORMAT, "rows": [{"loss": (1, evil)}]})),
    "legacy torch.save with a digest": lambda evil: sealed(saved(evil, _use_new_zipfile_serialization=False)),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_nothing_in_a_file_is_executed(tmp_path, wrapping):
    """A malicious pickle, raw or in our own format with a correct digest, is refused and its code does not run."""
    path, marker = tmp_path / "gift.pt", tmp_path / "executed"
    path.write_bytes(WRAPPINGS[wrapping](Malicious(marker)))
    assert_refused(path)
    assert not marker.exists()
    load = pickle.loads if "pickle" in wrapping else lambda data: torch.load(io.BytesIO(data), weights_only=False)
    load(path.read_bytes())  # the file is as malicious as it seems: loaded trustingly, it does run
    assert marker.exists()


# Parts that do not fit together

MISFITS = {
    "wider model": lambda s: s["model_config"].update(embed_size=32),
    "more layers": lambda s: s["model_config"].update(n_layers=3),
    "impossible model": lambda s: s["model_config"].update(n_heads=0),
    "unknown setting": lambda s: s["model_config"].update(rotary=True),
    "no configuration": lambda s: s.pop("model_config"),
    "configuration of another kind": lambda s: s.update(model_config=[320, 16]),
    "a weight is missing": lambda s: s["model"].pop("norm.weight"),
    "weights of another kind": lambda s: s.update(model="weights"),
    "no tokenizer": lambda s: s.pop("tokenizer"),
    "no bytes for a tokenizer": lambda s: s.update(tokenizer="places.model"),
    "damaged tokenizer": lambda s: s.update(tokenizer=s["tokenizer"][:100]),
    "smaller tokenizer": lambda s: s.update(tokenizer=pack_tokenizer(train_tokenizer(["a stone bridge of old"] * 9, 275))),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_parts_that_do_not_fit_are_refused(path, misfit):
    """Weights, configuration and tokenizer that do not belong together are refused with an error that names the file."""
    state = load_checkpoint(path)
    MISFITS[misfit](state)
    save_checkpoint(path, state)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: its parts do not fit together")):
        load_model(path)

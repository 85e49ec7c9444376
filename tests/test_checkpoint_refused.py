"""Checkpoints are never trusted blindly: what is damaged, foreign or malicious is refused (notebook 05, "Checkpoints")."""

import hashlib
import io
import os
import pickle
import random
import re
import zipfile

import pytest
import torch

from helpers.checkpoint import FORMAT, CheckpointError, load_checkpoint, load_model
from helpers.recipe import TrainConfig
from helpers.training import Run


@pytest.fixture
def path(small_config, corpus, cpu, tmp_path):
    """A real checkpoint, written after one step."""
    run = Run(small_config, TrainConfig(batch_size=2, train_iters=10), corpus, tmp_path, cpu)
    run.train_step()
    run.save("latest.pt")
    return tmp_path / "latest.pt"


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
    content, loaded = bytearray(path.read_bytes()), []
    places = [len(content) * k // 400 for k in range(399)] + [len(content) - 1]
    for place in places:
        bit = 1 << random.Random(place).randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        try:
            load_checkpoint(path)
            loaded.append(place)
        except CheckpointError as error:
            assert str(path) in str(error)
        content[place] ^= bit
    assert len(set(places)) == 400 and not loaded, f"{len(loaded)} of 400 flipped bits were not noticed"


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
    "our format": lambda evil: sealed(saved({"format": FORMAT, "model": evil})),
    "our format, nested": lambda evil: sealed(saved({"format": FORMAT, "rows": [{"loss": (1, evil)}]})),
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

"""Checkpoints: what is written comes back, and is written whole or not at all (notebook 05, "Checkpoints")."""

import errno
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_script import same

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


def saved(state, **options):
    """A state as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


# What is written comes back


def test_round_trip_is_exact(run, path):
    """Model, optimiser, settings, position and tokenizer come back equal to the bit."""
    state = load_checkpoint(path)
    assert same(state["model"], run.model.state_dict())
    assert same(state["optimizer"], run.optimizer.state_dict())
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
    assert same({name: state[name] for name in values}, values)
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
    command, helpers = [sys.executable, "-c", LIMITED, str(path), fault], Path(checkpoint.__file__).parents[1]
    child = subprocess.run(command, cwd=helpers, capture_output=True, encoding="utf-8", timeout=100)
    assert child.returncode == returncode, child.stderr
    assert (f"{path} could not be written (File too large)" in child.stdout) == (fault == "limit")
    assert sorted(f.name for f in tmp_path.iterdir()) == files
    assert torch.equal(load_checkpoint(path)["x"], torch.arange(1000))


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

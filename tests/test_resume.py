"""Going on: a run that was interrupted, killed or out of room continues as if nothing had happened (notebook 05)."""

import errno
import json
import os
import random
import re
import signal
import socket
import time

import pytest
import torch
from articles import write_articles
from train_script import break_off, finish, read_log, same, start, train_small

from helpers import training
from helpers.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from helpers.data import load_corpus

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals that can be sent to another process")


@pytest.fixture(scope="module")
def whole(articles_file, tmp_path_factory):
    """The folder of a run of 30 steps that nothing interrupted, with dropout."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        train_small(out, load_corpus(articles_file, vocab_size=320))
    return out


def assert_same_run(out, whole):
    """Everything in the folder equals, bit for bit, what the uninterrupted run wrote; only the speed may differ."""
    log, expected = read_log(out), read_log(whole)
    assert same(log, expected), f"{log}\nis not\n{expected}"
    for name in ("latest.pt", "best.pt"):
        state, expected = load_checkpoint(out / name), load_checkpoint(whole / name)
        assert list(state) == list(expected)
        assert [key for key in state if not same(state[key], expected[key])] == []
    assert (out / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()
    assert sorted(f.name for f in out.iterdir()) == ["best.pt", "latest.pt", "log.csv", "samples.txt"]


# In one process


BATCH, CLIP = (training.Batches, "get"), (torch.nn.utils, "clip_grad_norm_")
ZERO, EVALUATE = (torch.optim.AdamW, "zero_grad"), (training, "evaluate")
SAMPLE, LOG = (training, "stream_text"), (training, "write_log")


def train_interrupted(out, corpus, **changes):
    """Train until the interrupt, which must not come out of it: it would end pytest too."""
    try:
        return train_small(out, corpus, **changes)
    except KeyboardInterrupt:
        pytest.fail("The interrupt was not caught.")


@pytest.mark.parametrize(("place", "count", "step"), [(BATCH, 1, 1), (CLIP, 8, 8), (EVALUATE, 1, 0), (EVALUATE, 2, 10)])
def test_ctrl_c_saves_and_returns(whole, corpus, tmp_path, monkeypatch, place, count, step):
    """A real SIGINT lets the step or the evaluation finish, saves and returns; resumed, the run equals the whole one."""
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        break_off(patch, *place, count)
        run = train_interrupted(tmp_path, corpus)
    assert signal.getsignal(signal.SIGINT) is handler
    assert run.step == load_checkpoint(tmp_path / "latest.pt")["step"] == step
    train_small(tmp_path, corpus, resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(("place", "count"), [(CLIP, 14), (ZERO, 14), (EVALUATE, 2), (SAMPLE, 1), (SAMPLE, 2), (LOG, 4)])
def test_keyboard_interrupt_at_any_place_loses_nothing(whole, corpus, tmp_path, monkeypatch, place, count):
    """KeyboardInterrupt in the middle of a step or an evaluation returns; resumed, the run equals the whole one."""
    with monkeypatch.context() as patch:
        break_off(patch, *place, count, KeyboardInterrupt())
        run = train_interrupted(tmp_path, corpus)
    if place == CLIP:  # nothing of the step is done yet: the one before it is saved
        assert run.step == load_checkpoint(tmp_path / "latest.pt")["step"] == 13
    train_small(tmp_path, corpus, resume=True)
    assert_same_run(tmp_path, whole)


def test_best_loss_and_patience_are_carried_on(corpus, tmp_path, monkeypatch):
    """A resumed run knows the best loss before it, and for how many evaluations there was no better one."""
    losses = iter([6.0, 3.0, 4.0, 4.5, 3.5, 3.6])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(losses))
    with monkeypatch.context() as patch:
        break_off(patch, *CLIP, 24)
        train_interrupted(tmp_path, corpus, train_iters=60, patience=3)
    run = train_small(tmp_path, corpus, resume=True, train_iters=60, patience=3)
    assert run.step == 40
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 10


@pytest.mark.parametrize("count", [3, 5, 6])
def test_run_out_of_room_goes_on_from_the_last_good_checkpoint(whole, corpus, tmp_path, monkeypatch, count):
    """A disk that fills up while a checkpoint is written stops the run with a sentence; with room it goes on as before."""
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match=r"could not be written.*go on with --resume"):
        break_off(patch, os, "fsync", count, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        train_small(tmp_path, corpus)
    train_small(tmp_path, corpus, resume=True)
    assert_same_run(tmp_path, whole)


def test_resuming_a_finished_run_changes_nothing(whole, corpus):
    """A run that is at its end can be resumed: nothing is trained, nothing is written anew."""
    before = {f.name: f.read_bytes() for f in whole.iterdir()}
    assert train_small(whole, corpus, resume=True).step == 30
    assert {f.name: f.read_bytes() for f in whole.iterdir()} == before


# Another run's checkpoint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 1e-2}, r"lr = 0\.005 instead of 0\.01"),
        ({"seed": 1, "train_iters": 40}, "train_iters = 30 instead of 40, seed = 0 instead of 1"),
        ({"model": {"dropout": 0.0}, "grad_clip": 2.0}, r"dropout = 0\.1 instead of 0\.0, grad_clip = 1\.0 instead of 2\.0"),
    ],
)
def test_another_configuration_is_refused(whole, corpus, changes, said):
    """Resuming with other settings is refused, saying which, and leaves the checkpoint as it is."""
    before = (whole / "latest.pt").read_bytes()
    with pytest.raises(CheckpointError, match=f"latest.pt belongs to another run: {said}"):
        train_small(whole, corpus, resume=True, **changes)
    assert (whole / "latest.pt").read_bytes() == before


def test_another_corpus_is_refused(whole, tmp_path):
    """Resuming with other text is refused, even if the vocabulary has the same size."""
    other = load_corpus(write_articles(tmp_path / "places.txt", seed=1), vocab_size=320)
    with pytest.raises(CheckpointError, match="belongs to another run: it was trained on another corpus"):
        train_small(whole, other, resume=True)


def test_nothing_to_resume_is_said(corpus, tmp_path):
    """Resuming where there is no run, or where the checkpoint is a model only, is refused by the file's name."""
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / 'latest.pt'} cannot be read")):
        train_small(tmp_path, corpus, resume=True)
    run = train_small(tmp_path, corpus, train_iters=1)
    state = load_checkpoint(tmp_path / "latest.pt")
    save_checkpoint(tmp_path / "latest.pt", {name: state[name] for name in ("model", "model_config", "tokenizer")})
    with pytest.raises(CheckpointError, match=re.escape(str(run.out / "latest.pt"))):
        train_small(tmp_path, corpus, resume=True, train_iters=1)


# Processes of their own


def wait_for_step(child, step):
    """Read what the child prints until it is in that step."""
    for line in child.stdout:
        if line == f"step {step}\n":
            return
    pytest.fail(child.stderr.read())


@posix_only
@pytest.mark.parametrize("step", [3, 13, 22])
def test_killed_process_goes_on_as_if_nothing_had_happened(whole, corpus, articles_file, tmp_path, step):
    """A process killed by SIGKILL at a random moment after a step is resumed, and equals the whole run bit for bit."""
    with start(tmp_path, articles_file, [{"out": "run", "wait_at": 29}]) as child:
        wait_for_step(child, step)
        time.sleep(random.SystemRandom().uniform(0, 0.1))  # any moment will do: in step 29 it waits for its end
        child.kill()
        assert child.wait(60) == -signal.SIGKILL
    train_small(tmp_path / "run", corpus, resume=True)
    (tmp_path / "run" / "latest.pt.part").unlink(missing_ok=True)
    assert_same_run(tmp_path / "run", whole)


@posix_only
def test_process_interrupted_from_outside_saves_and_ends(whole, corpus, articles_file, tmp_path):
    """SIGINT sent to a training process lets it finish its step, save, and end without an error."""
    with start(tmp_path, articles_file, [{"out": "run", "wait_at": 17}]) as child:
        wait_for_step(child, 17)
        child.send_signal(signal.SIGINT)
        errors = finish(child, "go on\n")
        assert child.returncode == 0, errors
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 18
    train_small(tmp_path / "run", corpus, resume=True)
    assert_same_run(tmp_path / "run", whole)


EXACT = {"model": {"dropout": 0.0}, "train_iters": 10, "eval_interval": 1, "eval_batches": None, "accumulation": 2}


@pytest.fixture(scope="module")
def two(articles_file, tmp_path_factory):
    """The folder of four runs of two processes under torchrun, one after another."""
    folder = tmp_path_factory.mktemp("two")
    broken = {"out": "broken", "train_iters": 12, "eval_interval": 6}
    runs = [EXACT | {"out": "exact"}, broken | {"out": "unbroken"}]
    runs += [broken | {"interrupt_at": [1, 8]}, broken | {"resume": True}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port", port]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("USE_LIBUV", "0")  # which torch on Windows is built without
        with start(folder, articles_file, runs, *launcher) as child:
            errors = finish(child)
    assert child.returncode == 0, errors
    return folder


def test_two_processes_give_the_losses_of_one_with_the_doubled_batch(two, corpus, tmp_path):
    """Ten steps of two processes with batch b equal those of one with 2b, in every loss."""
    train_small(tmp_path, corpus, batch_size=8, **EXACT)
    one, both = (load_checkpoint(folder / "latest.pt") for folder in (tmp_path, two / "exact"))
    assert [row["iteration"] for row in both["rows"]] == list(range(11))
    for row, expected in zip(both["rows"][1:], one["rows"][1:], strict=True):
        for name in ("train_loss", "val_loss", "grad_norm", "lr"):
            assert row[name] == pytest.approx(expected[name], abs=1e-5), (row["iteration"], name)


def test_only_one_process_writes(two):
    """Of two processes only the first writes checkpoints and the log, and both hold the same model."""
    notes = [json.loads((two / f"process-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    folders = ("broken", "exact", "unbroken")
    assert notes[0]["written"] == [f"{out}/{name}" for out in folders for name in ("best.pt", "latest.pt", "log.csv")]
    assert notes[1]["written"] == []
    assert notes[0]["weights"] == notes[1]["weights"]
    for out in folders:
        assert sorted(f.name for f in (two / out).iterdir()) == ["best.pt", "latest.pt", "log.csv", "samples.txt"]


def test_two_interrupted_processes_go_on_as_if_nothing_had_happened(two):
    """With dropout, an interrupt of one process stops both at the same step, and resumed they equal the unbroken run."""
    assert_same_run(two / "broken", two / "unbroken")


def test_another_number_of_processes_is_refused(two, corpus):
    """A run of two processes cannot be resumed by one, and the error says so."""
    with pytest.raises(CheckpointError, match=r"belongs to another run: it was trained by 2 process\(es\), not 1"):
        train_small(two / "unbroken", corpus, resume=True, train_iters=12, eval_interval=6)

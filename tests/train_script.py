"""What the tests of whole runs share; run as a script, it trains in processes of its own, which can be killed.

python tests/train_script.py FOLDER DATA JSON, where JSON is a list of runs, each an object with the name "out" of its
folder in FOLDER and the arguments of `train_small`. Before each batch the script prints the number of the step, so that
the caller knows where it is. "wait_at": a step in which to wait for a line from the caller. "interrupt_at": a rank and a
step in which that process is interrupted. Each process notes what it wrote in FOLDER/process-RANK.json.
"""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from helpers import training
from helpers.data import load_corpus
from helpers.device import Device
from helpers.gpt import GPTConfig
from helpers.recipe import TrainConfig

MODEL = {"vocab_size": 320, "context": 16, "embed_size": 24, "n_layers": 2, "n_heads": 5, "dropout": 0.1}
CONFIG = {"batch_size": 4, "train_iters": 30, "lr": 5e-3, "warmup_iters": 1, "eval_interval": 10, "eval_batches": 3}
CPU = Device("cpu", torch.float32, 1, "for tests")


def train_small(out, corpus, resume=False, wandb="disabled", model=None, **changes):
    """Train a small model for 30 steps into `out`. model, changes: what differs from MODEL and CONFIG."""
    config = TrainConfig(**CONFIG | changes)
    options = {"resume": resume, "device": CPU, "wandb": wandb, "progress": False}
    return training.train(GPTConfig(**MODEL | (model or {})), config, corpus, out, **options)


def same(a, b):
    """Tell whether two states are equal to the bit; only the speed, in tokens per second, may differ."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a if key != "tokens_per_s")
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def read_log(out):
    """Return the rows of log.csv, each a dict of strings."""
    with open(Path(out) / "log.csv", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def break_off(monkeypatch, owner, name, count, error=None):
    """Let the call number `count` (from 1) of owner.name begin with an error, or with the signal of Ctrl-C."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **options):
        calls.append(name)
        if len(calls) == count and error is not None:
            raise error
        if len(calls) == count:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, wrapped)


def tell_steps(wait_at=None, interrupt_at=None):
    """Make `Batches.get` print the step, and there wait or be interrupted."""

    def get_and_tell(batches, i):
        print("step", i, flush=True)
        if i == wait_at:
            sys.stdin.readline()
        if interrupt_at == [batches.rank, i]:
            signal.raise_signal(signal.SIGINT)
        return get(batches, i)

    training.Batches.get = get_and_tell


def note_files(written):
    """Note in the list `written` each file that this process writes."""

    def noting(write):
        return lambda path, content: (written.append("/".join(Path(path).parts[-2:])), write(path, content))

    training.save_checkpoint, training.write_log = noting(training.save_checkpoint), noting(training.write_log)


def start(folder, data, runs, *launcher):
    """Start this script in a process of its own. launcher: what stands before its name, such as torchrun's module."""
    command = [sys.executable, *launcher, __file__, str(folder), str(data), json.dumps(runs)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[1])}  # the helpers that are tested here
    return subprocess.Popen(command, **pipes, encoding="utf-8", env=environment)


def finish(child, said=None):
    """Let the child come to its end; return what it wrote as errors."""
    try:
        return child.communicate(said, timeout=200)[1]
    except subprocess.TimeoutExpired:
        child.terminate()  # torchrun then ends its processes
        raise


def main(folder, data, runs):
    """Do the runs, one after another."""
    folder, corpus, written, weights = Path(folder), load_corpus(data, vocab_size=320), [], []
    note_files(written)
    for options in json.loads(runs):
        tell_steps(options.pop("wait_at", None), options.pop("interrupt_at", None))
        run = train_small(folder / options.pop("out"), corpus, **options)
        weights.append(sum(p.double().abs().sum().item() for p in run.model.parameters()))
    note = json.dumps({"written": sorted(set(written)), "weights": weights})
    (folder / f"process-{run.process.rank}.json").write_text(note, encoding="utf-8")


get = training.Batches.get

if __name__ == "__main__":
    main(*sys.argv[1:])

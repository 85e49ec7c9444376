"""A training run: its milestones, what it writes, and what stops it (notebook 05, "The loop")."""

import math
from dataclasses import replace

import pytest
import torch
import wandb
from train_script import CPU, read_log, train_small

from helpers import training
from helpers.checkpoint import CheckpointError, load_checkpoint, load_model
from helpers.data import PROMPT, is_validation
from helpers.recipe import TrainConfig, learning_rate
from helpers.training import Run, evaluate

COLUMNS = ["iteration", "train_loss", "val_loss", "bits_per_byte", "lr", "grad_norm", "tokens_per_s"]


def watch_steps(monkeypatch):
    """Return a list that collects loss and gradient norm of every step."""
    seen, train_step = [], Run.train_step

    def step_and_watch(run):
        loss, norm = train_step(run)
        seen.append((loss.item(), norm.item()))
        return loss, norm

    monkeypatch.setattr(Run, "train_step", step_and_watch)
    return seen


# What is written


def test_log_has_one_row_for_each_milestone(corpus, tmp_path, monkeypatch):
    """log.csv has the documented columns, and at 0, every interval and the end a row with what was true at that step."""
    steps = watch_steps(monkeypatch)
    run = train_small(tmp_path, corpus, train_iters=25, weight_decay=0.1)
    rows = read_log(tmp_path)
    assert all(list(row) == COLUMNS for row in rows)
    assert [int(row["iteration"]) for row in rows] == [row["iteration"] for row in run.rows] == [0, 10, 20, 25]
    assert [rows[0][name] for name in ("train_loss", "grad_norm", "tokens_per_s")] == ["", "", ""]
    for row, (start, end) in zip(rows[1:], [(0, 10), (10, 20), (20, 25)], strict=True):
        losses = [loss for loss, _ in steps[start:end]]
        assert float(row["train_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-6)
        assert float(row["grad_norm"]) == pytest.approx(steps[end - 1][1], rel=1e-6)
        assert float(row["lr"]) == learning_rate(end - 1, run.config)
        assert int(row["tokens_per_s"]) > 0
    final = evaluate(run.model, corpus.validation, CPU, batch_size=4, max_batches=3)
    assert float(rows[-1]["val_loss"]) == final


def test_bits_per_byte(corpus, articles_file, tmp_path):
    """Bits per byte are nats / ln 2 / bytes per token, counted in the validation articles themselves."""
    run = train_small(tmp_path, corpus, train_iters=1)
    articles = articles_file.read_text(encoding="utf-8").strip().split("\n\n")
    n_bytes = sum(len(article.encode("utf-8")) for article in articles if is_validation(article))
    bits = run.rows[0]["val_loss"] / math.log(2)
    assert run.rows[0]["bits_per_byte"] == pytest.approx(bits * len(corpus.validation) / n_bytes, rel=1e-12)


def test_samples_continue_the_prompt_of_the_course(corpus, tmp_path):
    """samples.txt holds, for each milestone, the course's prompt and what the model of that step makes of it."""
    run = train_small(tmp_path, corpus)
    text = (tmp_path / "samples.txt").read_text(encoding="utf-8")
    assert PROMPT == "The mountain in my city is"
    assert [s["iteration"] for s in run.samples] == [0, 10, 20, 30]
    assert text == "".join(f"[{s['iteration']}] {s['text']}\n\n" for s in run.samples)
    assert all(s["text"].startswith(PROMPT) and len(s["text"]) > len(PROMPT) for s in run.samples)
    assert len({s["text"] for s in run.samples}) == 4


def test_best_checkpoint_is_that_of_the_lowest_validation_loss(corpus, tmp_path, monkeypatch):
    """best.pt is the model of the milestone with the lowest validation loss, latest.pt that of the last."""
    losses = iter([5.0, 3.0, 4.0, 3.5])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(losses))
    train_small(tmp_path, corpus)
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 10
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 30


def test_progress_bar_shows_loss_and_speed(corpus, tmp_path, small_config, capfd):
    """The progress bar shows the loss, tokens per second and the time left."""
    training.train(small_config, TrainConfig(batch_size=2, train_iters=3), corpus, tmp_path, device=CPU, wandb="disabled")
    shown = capfd.readouterr().err
    assert "3/3 [" in shown and "loss " in shown and "tokens/s" in shown


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_training_does_without_wandb(corpus, tmp_path, monkeypatch, capsys, mode):
    """When wandb.init raises, it is said, and training goes on."""

    def init(**_):
        raise OSError("no key, no network")

    monkeypatch.setattr("wandb.init", init)
    run = train_small(tmp_path, corpus, train_iters=3, wandb=mode)
    assert run.step == 3
    assert "no key, no network" in capsys.readouterr().out


@pytest.mark.parametrize(("mode", "files"), [("offline", 1), ("disabled", 0)])
def test_wandb_record_lies_under_out(corpus, tmp_path, mode, files):
    """wandb="offline" keeps a .wandb file with the log under the folder of the run; "disabled" keeps nothing."""
    train_small(tmp_path, corpus, train_iters=2, wandb=mode)
    wandb.teardown()  # wait until its service has written everything
    records = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(records) == files
    assert all(b"bits_per_byte" in record.read_bytes() for record in records)


def test_dropout_differs_from_step_to_step_and_between_processes(corpus, tmp_path, small_config, monkeypatch):
    """Each step drops other units, each process other ones than the first; the same step of a run always the same."""
    seen = []
    for rank in ("0", "0", "1"):
        monkeypatch.setenv("RANK", rank)
        run = Run(replace(small_config, dropout=0.5), TrainConfig(batch_size=4), corpus, tmp_path, CPU)
        run.model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
        run.train_step()
        run.train_step()
    first, second, first_again, _, first_of_another, _ = seen
    assert torch.equal(first_again, first)
    for other in (second, first_of_another):
        assert 0.4 < (other == first).float().mean() < 0.6


# What stops it


def test_a_folder_that_holds_a_run_is_not_overwritten(corpus, tmp_path):
    """Starting into a folder that holds a run is refused with a sentence, and the run there is left as it is."""
    train_small(tmp_path, corpus, train_iters=2)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"already holds a run: go on with it \(--resume\), or choose another folder"):
        train_small(tmp_path, corpus, train_iters=2)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("patience", "last"), [(1, 20), (2, 50), (3, 90), (None, 100)])
def test_early_stopping(corpus, tmp_path, monkeypatch, patience, last):
    """Training stops after `patience` evaluations in a row without a better loss; a better one starts the count anew."""
    losses = iter([6.0, 5.0, 5.5, 4.9, 5.0, 4.9, 4.8, 4.9, 5.0, 4.8, 4.7])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(losses))
    run = train_small(tmp_path, corpus, train_iters=100, patience=patience)
    assert run.step == load_checkpoint(tmp_path / "latest.pt")["step"] == last


def poison(monkeypatch, kind, at):
    """Let step number `at` have NaN in the weights that it starts from, in its gradients, or in the weights it makes."""
    train_step = Run.train_step

    def poisoned_step(run):
        weight = run.model.norm.weight
        if run.step + 1 == at and kind == "gradient":
            weight.register_hook(lambda grad: grad * math.nan)
        if run.step + 1 == at and kind == "loss":
            weight.data.fill_(math.nan)
        result = train_step(run)
        if run.step == at and kind == "weights":
            weight.data.fill_(math.nan)
        return result

    monkeypatch.setattr(Run, "train_step", poisoned_step)


@pytest.mark.parametrize(("kind", "at"), [("loss", 14), ("gradient", 14), ("loss", 20), ("gradient", 20), ("weights", 20)])
def test_nan_stops_the_run(corpus, tmp_path, monkeypatch, kind, at):
    """A NaN, at a milestone too, stops the run with its step and likely cause; the last good checkpoint is whole."""
    poison(monkeypatch, kind, at)
    with pytest.raises(FloatingPointError, match=rf"no longer a number at step {at} .*learning rate.*latest\.pt"):
        train_small(tmp_path, corpus)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 10
    for name in ("latest.pt", "best.pt"):
        assert all(p.isfinite().all() for p in load_model(tmp_path / name)[0].parameters())
    assert [row["iteration"] for row in read_log(tmp_path)] == ["0", "10"]

"""Training: evaluation, a step, the loop, stopping and going on (notebook 05)."""

import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from helpers.checkpoint import CheckpointError, differences, load_checkpoint, pack_tokenizer, save_checkpoint
from helpers.data import PROMPT, Batches
from helpers.device import pick_device
from helpers.generation import stream_text
from helpers.gpt import GPT, check_vocabulary
from helpers.monitoring import Interrupt, Process, start_wandb, write_log
from helpers.recipe import is_milestone, learning_rate, make_optimizer


@torch.no_grad()
def evaluate(model, tokens, device, batch_size=8, max_batches=None):
    """Return the mean cross-entropy, in nats per token, of the model on a token array.

    The array is cut into windows of the model's context, one after another, each token predicted once from those before
    it in its window. max_batches: look at so many batches only, spread evenly. Notebook 05, "Evaluation".
    """
    context, was_training = model.config.context, model.training
    model.eval()
    starts = np.arange(0, max(1, len(tokens) - context), context)
    batches = np.array_split(starts, math.ceil(len(starts) / batch_size))
    if max_batches is not None and max_batches < len(batches):
        batches = [batches[i] for i in np.linspace(0, len(batches) - 1, max_batches).astype(int)]
    total = count = 0.0
    for batch in batches:
        T = min(context, len(tokens) - 1)
        window = torch.from_numpy(tokens[batch[:, None] + np.arange(T + 1)].astype(np.int64)).to(device.type)
        with device.autocast():
            loss = model(window[:, :-1], window[:, 1:])
        total, count = total + loss.item() * len(batch), count + len(batch)
    model.train(was_training)
    return total / count


class Run:
    """The state of a training run: everything that a checkpoint carries, and one method for each thing done with it."""

    def __init__(self, model_config, config, corpus, out, device):
        self.config, self.corpus, self.device, self.out = config, corpus, device, Path(out)
        self.process = Process(device.type)
        torch.manual_seed(config.seed)
        self.model = GPT(model_config).to(device.type)
        check_vocabulary(self.model, corpus.tokenizer)
        self.optimizer = make_optimizer(self.model, config, fused=device.type != "mps")
        self.batches = Batches(
            corpus.train,
            model_config.context,
            config.batch_size,
            config.seed,
            device.type,
            self.process.rank,
            self.process.world,
        )
        self.step, self.best_loss, self.bad_evals = 0, math.inf, 0
        self.rows, self.samples, self.losses, self.grad_norm = [], [], [], None  # losses: since the last milestone
        self.parallel = DistributedDataParallel(self.model) if self.process.world > 1 else self.model

    def save(self, name):
        """Write the checkpoint `name` into the folder of the run (by the first process only)."""
        if self.process.rank == 0:
            save_checkpoint(self.out / name, {
                "model": self.model.state_dict(), "model_config": asdict(self.model.config),
                "optimizer": self.optimizer.state_dict(), "train_config": asdict(self.config),
                "step": self.step, "best_loss": self.best_loss, "bad_evals": self.bad_evals, "rows": self.rows,
                "samples": self.samples, "losses": torch.tensor(self.losses), "grad_norm": self.grad_norm,
                "world": self.process.world, "corpus": self.corpus.manifest["key"],
                "tokenizer": pack_tokenizer(self.corpus.tokenizer),
            })  # fmt: skip

    def resume(self):
        """Go on from `latest.pt`; CheckpointError if it belongs to another configuration or corpus."""
        path = self.out / "latest.pt"
        state = load_checkpoint(path, self.device.type)
        if "optimizer" not in state:
            raise CheckpointError(f"{path} holds a model, but not the state of a training run: it can't be resumed.")
        self._check_same(path, state)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("step", "best_loss", "bad_evals", "rows", "samples", "grad_norm"):
            setattr(self, name, state[name])
        self.losses = list(state["losses"])
        self.write_reports()

    def write_reports(self):
        """Write log.csv and samples.txt (by the first process only)."""
        if self.process.rank == 0:
            write_log(self.out / "log.csv", self.rows)
            text = "".join(f"[{s['iteration']}] {s['text']}\n\n" for s in self.samples)
            (self.out / "samples.txt").write_text(text, encoding="utf-8")

    def _check_same(self, path, state):
        faults = differences(self.model.config, state["model_config"])
        faults = ", ".join(filter(None, (faults, differences(self.config, state["train_config"]))))
        if state["corpus"] != self.corpus.manifest["key"]:
            faults = faults or "it was trained on another corpus or tokenizer"
        if state["world"] != self.process.world:
            faults = faults or f"it was trained by {state['world']} process(es), not {self.process.world}"
        if faults:
            raise CheckpointError(f"{path} belongs to another run: {faults}. Use its settings, or another --out folder.")

    def finished(self):
        """Tell whether all steps are done, or the patience is at its end."""
        patience = self.config.patience
        return self.step == self.config.train_iters or (patience is not None and self.bad_evals >= patience)

    def train_step(self):
        """Do one optimiser step; return its loss and its gradient norm before clipping, as tensors, and keep them."""
        config, total = self.config, 0.0
        # Dropout is drawn anew from the number of the step: a step is the same however it was reached.
        torch.manual_seed(int(np.random.SeedSequence((config.seed, self.step, self.process.rank)).generate_state(1)[0]))
        lr = learning_rate(self.step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for i in range(config.accumulation):
            inputs, targets = self.batches.get(self.step * config.accumulation + i)  # (B, T) each
            last = i == config.accumulation - 1
            with nullcontext() if last or self.process.world == 1 else self.parallel.no_sync():
                with self.device.autocast():
                    loss = self.parallel(inputs, targets) / config.accumulation
                loss.backward()
            total = total + loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        loss = self.process.mean(total)
        self.optimizer.step()
        self.step, self.losses, self.grad_norm = self.step + 1, [*self.losses, loss], norm
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm


def train(model_config, config, corpus, out, *, resume=False, device=None, wandb="offline", progress=True):
    """Train a GPT on a `Corpus` and return the `Run`: its model, and its `rows`, one for each evaluation.

    Into the folder `out` go latest.pt, best.pt (lowest validation loss), log.csv and samples.txt. resume: go on from
    latest.pt there; on a CPU the result is then the same, bit for bit, as if nothing had happened. Ctrl-C, or the
    kernel's interrupt, finishes the step, saves and returns. wandb: "offline", "online" or "disabled".
    Raises CheckpointError, and FloatingPointError when the loss is no longer a number. Notebook 05, "The loop".
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    run = Run(model_config, config, corpus, out, device or pick_device())
    if resume:
        run.resume()
    elif (run.out / "latest.pt").exists():
        raise CheckpointError(f"{run.out} already holds a run: go on with it (--resume), or choose another folder (--out).")
    first = run.process.rank == 0
    logger = start_wandb(wandb, out, {**asdict(model_config), **asdict(config)}) if first else None
    bar = tqdm(total=config.train_iters, initial=run.step, disable=not (progress and first), unit="step", mininterval=0.5)
    with bar, Interrupt() as interrupt:
        try:
            _loop(run, bar, interrupt, logger)
        except KeyboardInterrupt:
            interrupt.requested = True
        if interrupt.requested:
            run.save("latest.pt")
            tqdm.write(f"Interrupted after step {run.step}: saved to {run.out / 'latest.pt'}; go on with --resume.")
    if logger:
        logger.finish()
    return run


def _loop(run, bar, interrupt, logger):
    """Step, and at every milestone evaluate, until the end, the patience, or an interrupt."""
    config, device = run.config, run.device.type
    tokens_per_step = config.batch_size * config.accumulation * run.process.world * run.model.config.context
    check_every = 1 if device == "cpu" else 50  # reading a number from a GPU makes it wait
    since, start, speed = run.step, time.perf_counter(), None
    while True:
        recorded = bool(run.rows) and run.rows[-1]["iteration"] == run.step
        if is_milestone(run.step, config) and not recorded:
            _milestone(run, speed, logger)
            since, start = run.step, time.perf_counter()
        if run.finished() and run.step < config.train_iters:
            tqdm.write(f"Stopped after step {run.step}: {run.bad_evals} evaluations without a better validation loss.")
        if run.finished() or run.process.any(interrupt.requested, device):
            return
        run.train_step()
        if run.step % check_every == 0 or is_milestone(run.step, config):
            _check_finite(run, loss=run.losses[-1], gradient=run.grad_norm)
            speed = round((run.step - since) * tokens_per_step / (time.perf_counter() - start))
            bar.update(run.step - bar.n)
            bar.set_postfix_str(f"loss {run.losses[-1].item():.3f}, {speed:,} tokens/s", refresh=False)


def _milestone(run, speed, logger):
    """Evaluate and sample; then, all at once, record and save."""
    val_loss = evaluate(run.model, run.corpus.validation, run.device, run.config.batch_size, run.config.eval_batches)
    _check_finite(run, loss=val_loss)
    bits = val_loss / math.log(2) / run.corpus.bytes_per_token()
    sample = PROMPT + "".join(stream_text(run.model, run.corpus.tokenizer, PROMPT, 60, temperature=0.8, top_k=50, seed=0))
    row = {"iteration": run.step, "train_loss": None, "val_loss": val_loss, "bits_per_byte": bits}
    row |= {"lr": learning_rate(max(0, run.step - 1), run.config), "grad_norm": None, "tokens_per_s": speed}
    if run.losses:
        row |= {"train_loss": torch.stack(run.losses).mean().item(), "grad_norm": run.grad_norm.item()}
    better = val_loss < run.best_loss
    run.rows, run.samples, run.losses = [*run.rows, row], [*run.samples, {"iteration": run.step, "text": sample}], []
    run.best_loss, run.bad_evals = min(val_loss, run.best_loss), 0 if better else run.bad_evals + 1
    if better:
        run.save("best.pt")
    run.save("latest.pt")
    run.write_reports()
    if run.process.rank == 0:
        tqdm.write(f"step {run.step}: validation loss {val_loss:.3f}, {bits:.3f} bits per byte | {sample.splitlines()[0]}")
    if logger:
        logger.log({**row, "sample": sample}, step=run.step)


def _check_finite(run, **values):
    """Stop, leaving the last good checkpoint, when loss or gradient is no longer a number."""
    for what, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"The {what} is no longer a number at step {run.step} (learning rate "
                f"{learning_rate(max(0, run.step - 1), run.config):.1e}). The likely cause is too high a learning rate: "
                f"lower it, or warm up for longer. The last good checkpoint is {run.out / 'latest.pt'}."
            )

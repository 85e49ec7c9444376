"""What surrounds a training run: several processes, interrupts, the CSV log, Weights & Biases (notebook 05)."""

import csv
import os
import signal
import threading
from pathlib import Path

import torch
import torch.distributed as dist

COLUMNS = ("iteration", "train_loss", "val_loss", "bits_per_byte", "lr", "grad_norm", "tokens_per_s")


class Process:
    """This process among those that `torchrun` started; `rank` 0 of a `world` of 1 without it."""

    def __init__(self, device_type):
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.world > 1 and not dist.is_initialized():
            if device_type == "cuda":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("nccl" if device_type == "cuda" else "gloo")

    def mean(self, value):
        """Return the mean of a scalar tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
            value = value / self.world
        return value

    def any(self, flag, device):
        """Tell whether `flag` is true in any process, so that all of them stop at the same step."""
        if self.world == 1:
            return flag
        return self.mean(torch.tensor(float(flag), device=device)).item() > 0


class Interrupt:
    """Within it the first Ctrl-C (or the kernel's interrupt) only sets `requested`: the step is finished, then we save.

    The second one interrupts at once. Outside the main thread, where signals can't be caught, it does nothing.
    """

    def __enter__(self):
        self.requested, self.previous = False, None
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, *_):
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_):
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)


def write_log(path, rows):
    """Write the rows (dicts with the keys COLUMNS) as a CSV file, replacing it in one move."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def start_wandb(mode, out, config):
    """Return a Weights & Biases run, or None if mode is "disabled" or the service can't be reached.

    mode: "offline" keeps the record in out/wandb (send it later with `wandb sync`), "online" sends it while training.
    """
    if mode == "disabled":
        return None
    import wandb  # half a second to import: only where it is used

    quiet = wandb.Settings(
        silent=True, console="off", x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
        disable_git=True, save_code=False, init_timeout=15,
    )  # fmt: skip
    try:
        return wandb.init(project="language-model-course", dir=str(out), mode=mode, config=config, settings=quiet)
    except Exception as error:  # no network, no key: training must not fail for want of a log in the cloud
        print(f"Weights & Biases could not be reached ({error}); the run is recorded offline in {out}.")
        return start_wandb("offline", out, config) if mode == "online" else None

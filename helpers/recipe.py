"""The recipe of a training run: its settings, the optimiser, the schedule (notebook 05)."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TrainConfig:
    """How to train. `ValueError` says what to change.

    batch_size: sequences in a step, per process and accumulation step. train_iters: optimiser steps. lr: peak learning
    rate, reached after `warmup_iters` and annealed to `lr_floor` of itself. betas: of AdamW. weight_decay: on matrices
    only. grad_clip: largest gradient norm. accumulation: batches whose gradients are added up for one step.
    eval_interval: steps between evaluations, each of which also samples and saves. eval_batches: batches of validation
    text in one, None for all of it. patience: evaluations without a better loss after which to stop, None for never.
    """

    batch_size: int = 8
    train_iters: int = 100_000
    lr: float = 3e-4
    warmup_iters: int = 0
    lr_floor: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    accumulation: int = 1
    eval_interval: int = 1000
    eval_batches: int | None = 100
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("batch_size", "train_iters", "accumulation", "eval_interval"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}.")
        for name in ("eval_batches", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, or None, not {getattr(self, name)!r}.")
        for name in ("lr", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}.")
        limits = {"weight_decay": math.inf, "lr_floor": 1, "warmup_iters": self.train_iters, "seed": 2**32}
        for name, high in limits.items():
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie between 0 and {high}, not be {getattr(self, name)!r}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 up to, but not including, 1, not {self.betas!r}.")


def make_optimizer(model, config, fused=None):
    """Return AdamW with weight decay on the tensors of two or more dimensions only: matrices, not biases and norms.

    Loshchilov and Hutter 2019; notebook 05, "AdamW".
    """
    parameters = list(model.parameters())  # the tied matrix comes once
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)


def learning_rate(step, config):
    """Return the learning rate of a step (counted from 0): a linear warm-up, then half a cosine down to the floor.

    Loshchilov and Hutter 2017; notebook 05, "The schedule".
    """
    if step < config.warmup_iters:
        return config.lr * (step + 1) / config.warmup_iters
    progress = (step - config.warmup_iters) / max(1, config.train_iters - config.warmup_iters)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))  # 1 → 0
    return config.lr * (config.lr_floor + (1 - config.lr_floor) * cosine)


def is_milestone(step, config):
    """Tell whether to evaluate, sample and save after `step` steps: at the interval, at powers of ten, at the end."""
    power_of_ten = step in (0, 100, 1000, 10_000, 100_000, 1_000_000)
    return power_of_ten or step % config.eval_interval == 0 or step == config.train_iters

"""The mathematics of training: a step, clipping, accumulation, evaluation, loss (notebook 05)."""

import copy
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.data import Batches
from helpers.device import Device
from helpers.gpt import GPT
from helpers.recipe import TrainConfig, learning_rate
from helpers.training import Run, evaluate


def settings(**changes):
    """A short training, with every setting away from its default."""
    usual = {"batch_size": 3, "train_iters": 12, "lr": 1e-2, "warmup_iters": 3, "lr_floor": 0.2, "betas": (0.8, 0.95)}
    return TrainConfig(**(usual | {"weight_decay": 0.3, "grad_clip": 0.5, "eval_interval": 5} | changes))


@pytest.fixture
def make_run(small_config, corpus, cpu, tmp_path):
    """Make a `Run` in double precision, in which rounding cannot hide a mistake."""

    def make(model_config=small_config, **changes):
        run = Run(model_config, settings(**changes), corpus, tmp_path, cpu)
        run.model.double()
        return run

    return make


def observe_steps(optimizer):
    """Return a list that collects, at each optimizer.step, the gradients that it is given."""
    seen = []
    optimizer.register_step_pre_hook(
        lambda opt, *_: seen.append([p.grad.clone() for group in opt.param_groups for p in group["params"]])
    )
    return seen


def gradients(model, inputs, targets):
    """The loss by PyTorch's own cross-entropy, and its gradients in the order of the optimiser's groups."""
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    parameters = sorted(model.parameters(), key=lambda p: p.dim() < 2)
    return loss.detach(), torch.autograd.grad(loss, parameters), parameters


def global_norm(tensors):
    return math.sqrt(sum(t.double().square().sum().item() for t in tensors))


# A step


class OwnAdamW:
    """AdamW as in algorithm 2 of Loshchilov and Hutter (2019)."""

    def __init__(self, parameters, decays):
        self.state = [(p, d, torch.zeros_like(p), torch.zeros_like(p)) for p, d in zip(parameters, decays, strict=True)]
        self.t = 0

    @torch.no_grad()
    def step(self, grads, lr, b1=0.8, b2=0.95, eps=1e-8):
        self.t += 1
        for (p, decay, m, v), g in zip(self.state, grads, strict=True):
            m.copy_(b1 * m + (1 - b1) * g)
            v.copy_(b2 * v + (1 - b2) * g * g)
            m_hat, v_hat = m / (1 - b1**self.t), v / (1 - b2**self.t)
            p.copy_(p - lr * (m_hat / (v_hat.sqrt() + eps) + decay * p))


class TorchAdamW:
    """PyTorch's AdamW, its groups made by hand."""

    def __init__(self, parameters, decays):
        self.parameters = parameters
        groups = [{"params": [p], "weight_decay": d} for p, d in zip(parameters, decays, strict=True)]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.95), fused=False)

    def step(self, grads, lr):
        for p, grad, group in zip(self.parameters, grads, self.optimizer.param_groups, strict=True):
            p.grad, group["lr"] = grad, lr
        self.optimizer.step()


@pytest.mark.parametrize("reference", [OwnAdamW, TorchAdamW])
def test_ten_steps_equal_the_same_by_hand(make_run, reference):
    """Ten steps equal cross-entropy, clipping, schedule and AdamW written independently: losses, norms and weights."""
    run = make_run()
    model = copy.deepcopy(run.model)
    parameters = sorted(model.parameters(), key=lambda p: p.dim() < 2)
    optimizer = reference(parameters, [0.3 if p.dim() >= 2 else 0.0 for p in parameters])
    for step in range(10):
        loss, grads, _ = gradients(model, *run.batches.get(step))
        norm = global_norm(grads)
        optimizer.step([g * min(1.0, 0.5 / norm) for g in grads], learning_rate(step, run.config))
        run_loss, run_norm = run.train_step()
        assert (run_loss.item(), run_norm.item()) == pytest.approx((loss.item(), norm), rel=1e-7)
    assert run.step == 10
    for (name, p), q in zip(run.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_gradients_are_clipped_before_the_step(make_run, clip):
    """optimizer.step sees gradients of global norm at most `grad_clip`, their direction kept; small ones as they are."""
    run = make_run(grad_clip=clip)
    _, grads, _ = gradients(run.model, *run.batches.get(0))
    seen, norm = observe_steps(run.optimizer), global_norm(grads)
    _, returned = run.train_step()
    assert returned.item() == pytest.approx(norm, rel=1e-9)
    assert global_norm(seen[0]) == pytest.approx(min(norm, clip), rel=1e-4)
    for got, grad in zip(seen[0], grads, strict=True):
        torch.testing.assert_close(got, grad * min(1.0, clip / norm), rtol=1e-4, atol=1e-9)


def test_accumulation_equals_a_larger_batch(make_run):
    """Four batches accumulated give the loss, gradients and weights of one batch of the same, four times as many, rows."""
    four, one = make_run(batch_size=2, accumulation=4), make_run(batch_size=8)
    seen = [observe_steps(run.optimizer) for run in (four, one)]
    for _ in range(3):
        losses = [run.train_step()[0].item() for run in (four, one)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert len(seen[0]) == len(seen[1]) == 3
    for grads in zip(*seen, strict=True):
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)
    for p, q in zip(four.model.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)


# Evaluation


def slow_evaluate(model, tokens):
    """One window at a time, one token at a time."""
    context = model.config.context
    windows = [tokens[s : s + context + 1] for s in range(0, len(tokens), context)]
    windows = [w for w in windows if len(w) == context + 1] or [tokens]
    losses = []
    for window in windows:
        log_probs = model(torch.tensor(window[:-1].astype(np.int64))[None])[0].log_softmax(-1)
        losses += [-log_probs[t, int(token)].item() for t, token in enumerate(window[1:])]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("length", [2, 10, 16, 17, 18, 33, 64, 65, 66, 100])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluate_equals_a_slow_loop(small_model, corpus, cpu, length, batch_size):
    """Every whole window counts once, whatever the batch; fewer tokens than a window are one shorter window."""
    tokens = corpus.validation[:length]
    with torch.no_grad():
        expected = slow_evaluate(small_model, tokens)
    assert evaluate(small_model, tokens, cpu, batch_size) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("max_batches", "windows"), [(None, range(10)), (9, range(10)), (2, [0, 1, 8, 9]), (1, [0, 1])])
def test_evaluate_takes_batches_spread_evenly(cpu, max_batches, windows):
    """eval_batches = n looks at n batches from the first to the last; None, or more than there are, at all of them."""
    seen = []

    class Recorder(nn.Module):
        config = SimpleNamespace(context=4)

        def forward(self, inputs, targets):
            assert torch.equal(targets, inputs + 1)
            seen.extend(inputs[:, 0].tolist())
            return torch.tensor(1.0)

    assert evaluate(Recorder(), np.arange(41, dtype=np.uint16), cpu, 2, max_batches) == 1.0
    assert seen == [4 * w for w in windows]


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_no_trace(small_config, corpus, cpu, training):
    """No dropout, the same number twice; the mode, the gradients and the random states are as they were."""
    torch.manual_seed(1)
    model = GPT(type(small_config)(**{**small_config.__dict__, "dropout": 0.5})).train(training)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    loss = evaluate(model, corpus.validation[:200], cpu)
    assert evaluate(model, corpus.validation[:200], cpu) == loss
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), repr(np.random.get_state())) == states[1:]
    assert model.training is training and all(m.training is training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        assert loss == pytest.approx(slow_evaluate(model.eval(), corpus.validation[:200]), rel=1e-5)


# Loss


def test_untrained_loss_is_that_of_a_uniform_guess(make_run, corpus, cpu):
    """An untrained model knows nothing: its loss is within 0.1 of ln V, in training and in evaluation."""
    run = make_run()
    assert evaluate(run.model, corpus.validation, cpu) == pytest.approx(math.log(320), abs=0.1)
    assert run.train_step()[0].item() == pytest.approx(math.log(320), abs=0.1)


def test_one_batch_is_overfitted(make_run, monkeypatch):
    """Trained on one batch over and over, the model learns it by heart: loss below 0.1."""
    run = make_run(train_iters=150, weight_decay=0.0, lr_floor=1.0)
    batch = run.batches.get(0)
    monkeypatch.setattr(run.batches, "get", lambda i: batch)
    for _ in range(150):
        loss, _ = run.train_step()
    assert loss.item() < 0.1


class Table(nn.Module):
    """A model that knows, for each token, the one that follows."""

    def __init__(self, table, config):
        super().__init__()
        self.register_buffer("logits", F.one_hot(table).double())
        self.scale, self.config = nn.Parameter(torch.tensor(100.0, dtype=torch.double)), config

    def forward(self, inputs, targets):
        return F.cross_entropy((self.scale * self.logits[inputs]).flatten(0, 1), targets.flatten())


def test_targets_are_the_next_tokens(make_run, small_config, cpu):
    """A model that copies a planted table of next tokens has loss zero, in a training step and in evaluation."""
    tokens = (np.arange(3000) * 7 % 320).astype(np.uint16)  # n is followed by n + 7
    table, run = Table(torch.arange(7, 327) % 320, small_config), make_run()
    run.parallel, run.batches = table, Batches(tokens, small_config.context, 3)
    assert run.train_step()[0].item() == pytest.approx(0.0, abs=1e-9)
    assert evaluate(table, tokens, cpu) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_run_in_the_dtype_of_the_device(small_config, corpus, tmp_path, dtype):
    """Under autocast matrix products are bfloat16; weights, gradients and the optimiser's state stay float32."""
    run = Run(small_config, settings(), corpus, tmp_path, Device("cpu", dtype, 1, "for tests"))
    seen, grads = set(), observe_steps(run.optimizer)
    run.model.blocks[1].feed_forward.expand.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    run.train_step()
    assert seen == {dtype}
    seen.clear()
    evaluate(run.model, corpus.validation, run.device)
    assert seen == {dtype}
    state = [t for moments in run.optimizer.state.values() for t in moments.values()]
    assert {t.dtype for t in [*run.model.parameters(), *grads[0], *state]} == {torch.float32}

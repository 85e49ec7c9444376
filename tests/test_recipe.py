"""The recipe of a training run: schedule, optimiser groups, milestones, settings (notebook 05)."""

import math

import pytest

from helpers.recipe import TrainConfig, is_milestone, learning_rate, make_optimizer

# The schedule


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (35, 0.1 + 0.9 * (2 + math.sqrt(2)) / 4), (60, 0.55), (110, 0.1), (999, 0.1)],
)
def test_learning_rate_at_known_points(step, share):
    """Warm-up rises in a line to the peak, the cosine is half-way down in the middle and stays at the floor."""
    config = TrainConfig(lr=3e-4, train_iters=110, warmup_iters=10, lr_floor=0.1)
    assert learning_rate(step, config) == pytest.approx(3e-4 * share, rel=1e-12)


@pytest.mark.parametrize(("warmup", "floor"), [(0, 0.1), (7, 0.0), (25, 1.0), (49, 0.5), (50, 0.1)])
def test_learning_rate_equals_the_closed_form_at_every_step(warmup, floor):
    """floor + (1 - floor) cos²(π/2 · progress), which is never above the peak."""
    config = TrainConfig(lr=0.02, train_iters=50, warmup_iters=warmup, lr_floor=floor)
    for step in range(warmup, 50):
        expected = 0.02 * (floor + (1 - floor) * math.cos(math.pi / 2 * (step - warmup) / (50 - warmup)) ** 2)
        assert learning_rate(step, config) == pytest.approx(expected, rel=1e-12)
    assert [learning_rate(s, config) for s in range(warmup)] == pytest.approx([0.02 * s / warmup for s in range(1, warmup + 1)])
    assert max(learning_rate(s, config) for s in range(100)) <= 0.02 * (1 + 1e-12)


# The optimiser


def test_weight_decay_on_matrices_only(small_model):
    """Exactly the tensors of two or more dimensions decay; each is in one group, the tied matrix once."""
    groups = make_optimizer(small_model, TrainConfig(weight_decay=0.3, betas=(0.8, 0.95))).param_groups
    names = {id(p): name for name, p in small_model.named_parameters()}  # the tied matrix comes once
    given = [(names[id(p)], group["weight_decay"]) for group in groups for p in group["params"]]
    assert len(given) == len(names)
    assert dict(given) == {name: 0.3 if p.dim() >= 2 else 0.0 for name, p in small_model.named_parameters()}
    assert "head.weight" not in names.values()
    assert all(group["betas"] == (0.8, 0.95) for group in groups)


# Settings


def test_milestones():
    """Evaluations come at the start, at powers of ten from a hundred on, at every interval, and at the end."""
    config = TrainConfig(train_iters=2345, eval_interval=600)
    assert [s for s in range(2346) if is_milestone(s, config)] == [0, 100, 600, 1000, 1200, 1800, 2345]


BAD = {
    "batch_size": [0, -1, 2.0, None], "train_iters": [0, 1.5], "accumulation": [0], "eval_interval": [0],
    "lr": [0, -1e-3, math.nan, math.inf], "grad_clip": [0, math.nan], "weight_decay": [-0.1, math.nan],
    "lr_floor": [-0.1, 1.1], "warmup_iters": [-1, 100_001], "betas": [(0.9,), (0.9, 1.0), (-0.1, 0.9)],
    "eval_batches": [0, -1], "patience": [0, -1], "seed": [-1],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_settings_that_cannot_be_are_named(field, value):
    """A TrainConfig that makes no sense is refused with a sentence that names the field."""
    with pytest.raises(ValueError, match=f"^{field} must"):
        TrainConfig(**{field: value})

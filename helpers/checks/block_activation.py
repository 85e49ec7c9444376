"""The check of notebook 03, "Exercises": the project on another activation than ReLU."""

from statistics import mean, pstdev, stdev

import torch
from torch import nn
from torch.nn import functional as F

from helpers.block import Block, FeedForward
from helpers.checks.marker import Exercise


class Bent(FeedForward):
    """The feed-forward network with another bend."""

    bend = staticmethod(F.relu)

    def forward(self, x):
        """Map x: (B, T, C) to (B, T, C), token by token."""
        return self.dropout(self.proj(self.bend(self.expand(x))))


def short_fit(model, seed, steps=1):
    """Train a model for a few steps to return the token before; return its loss on new sequences."""
    torch.manual_seed(seed)
    codes = torch.randn(16, 16)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps + 1):
        ids = torch.randint(16, (4, 5))
        loss = (model(codes[ids])[:, 1:] - codes[ids[:, :-1]]).square().mean()
        if step < steps:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return loss.item()


def too_early(model, seed):
    """Raise: with fewer than two seeds there is nothing to train."""
    raise RuntimeError("a model is trained, though fewer than two seeds are given")


def bends():
    """Return cases of a bend, seeds and fit: three bends, ReLU itself (the difference is zero), one seed, none."""
    return [
        ("GELU, three seeds", (F.gelu, [0, 1, 2], short_fit)),
        ("tanh, two seeds", (torch.tanh, [7, 3], short_fit)),
        ("ReLU against itself", (F.relu, [4, 5], short_fit)),
        ("one seed: no spread", (F.gelu, [0], too_early)),
        ("no seeds", (F.gelu, [], too_early)),
    ]


def stack(bend=None, seed=None):
    """Return two blocks, with a bend of their own if it is given, from a seed if it is given."""
    if seed is not None:
        torch.manual_seed(seed)
    model = nn.Sequential(Block(16, 2), Block(16, 2))
    for block in model if bend else []:
        block.feed_forward.__class__ = Bent
        block.feed_forward.bend = bend
    return model


def told(ours, theirs, spread=stdev):
    """Return what is to be reported of losses with ReLU and with another bend."""
    differences = [other - relu for relu, other in zip(ours, theirs, strict=True)]
    return {"relu": ours, "other": theirs, "difference": mean(differences), "spread": spread(differences)}


def refuse(seeds):
    """Raise for fewer than two seeds."""
    if len(seeds) < 2:
        raise ValueError("A spread needs at least two seeds.")


def compare_activations(bend, seeds, fit):
    """The reference: for each seed two models from the same weights, each trained on the same data."""
    refuse(seeds)
    return told([fit(stack(seed=s), s) for s in seeds], [fit(stack(bend, s), s) for s in seeds])


compare_activations = Exercise(compare_activations, bends, tolerance=1e-3)


def pair_mistake(name, nudge, ours=None, theirs=None, report=told):
    """File a mistake in what is trained, with ReLU or the other bend, from the bend, a seed and fit; or in the report."""
    ours = ours or (lambda bend, s, fit: fit(stack(seed=s), s))
    theirs = theirs or (lambda bend, s, fit: fit(stack(bend, s), s))

    def wrong(bend, seeds, fit):
        refuse(seeds)
        pairs = [(ours(bend, s, fit), theirs(bend, s, fit)) for s in seeds]
        return report(*map(list, zip(*pairs, strict=True)))

    compare_activations.mistake(name, nudge)(wrong)


def bent_in_the_first(bend, s, fit):
    """Train a model in which one of the blocks keeps its ReLU."""
    model = stack(bend, s)
    model[1].feed_forward.bend = F.relu
    return fit(model, s)


def trained_on(bend, s, fit):
    """Train the model with ReLU, then the same one with the other bend."""
    model = stack(F.relu, s)
    fit(model, s)
    for block in model:
        block.feed_forward.bend = bend
    return fit(model, s)


def without_seed(bend, s, fit):
    """Train a model whose weights are drawn after those of the other model."""
    torch.manual_seed(s)
    stack()
    return fit(stack(bend), s)


def with_new_networks(bend, s, fit):
    """Train a model whose feed-forward networks have been replaced by new ones, which draw their own weights."""
    model = stack(seed=s)
    for block in model:
        block.feed_forward = Bent(16)
        block.feed_forward.bend = bend
    return fit(model, s)


pair_mistake(
    "the new networks start from other weights",
    "ReLU against ReLU should differ by exactly zero. The networks that you put in: do they have the old weights?",
    theirs=with_new_networks,
)
pair_mistake(
    "the seed set for the first model only",
    "ReLU against ReLU should differ by exactly zero. Do your two models start from the same weights?",
    theirs=without_seed,
)
pair_mistake(
    "models built without a seed",
    "The seed decides the initial weights: it must be set right before each model is built.",
    lambda bend, s, fit: fit(stack(), s),
    lambda bend, s, fit: fit(stack(bend), s),
)
pair_mistake(
    "one seed for all models",
    "All of your models start from the same weights, so the spread misses the luck of the start: which seeds were given?",
    lambda bend, s, fit: fit(stack(seed=0), s),
    lambda bend, s, fit: fit(stack(bend, 0), s),
)
pair_mistake(
    "the same model trained twice",
    "The second model starts where the first has stopped: ReLU against ReLU should differ by zero. Is it a new model?",
    theirs=trained_on,
)
pair_mistake(
    "trained on different data",
    "Then two things differ, the bend and the data. Which seed does fit get for each of the two?",
    theirs=lambda bend, s, fit: fit(stack(bend, s), s + 1),
)
pair_mistake(
    "one block keeps its ReLU", "The model has two blocks, and each has a feed-forward network.", theirs=bent_in_the_first
)
pair_mistake(
    "the other bend on top of ReLU",
    "What your bend reads has already been bent: it never sees a number below zero.",
    theirs=lambda bend, s, fit: fit(stack(lambda z: bend(z.relu()), s), s),
)
pair_mistake(
    "ReLU minus the other",
    "Lists and spread are right. Which is taken from which?",
    report=lambda ours, theirs: told(ours, theirs) | {"difference": mean(ours) - mean(theirs)},
)
pair_mistake(
    "the spread of the losses",
    "Lists and difference are right. You want to know how far the *difference* changes with the seed, not the loss.",
    report=lambda ours, theirs: told(ours, theirs) | {"spread": stdev(theirs)},
)
pair_mistake(
    "the biased spread",
    "Lists and difference are right. The seeds are a sample of all seeds: by what is the sum of squares divided?",
    report=lambda ours, theirs: told(ours, theirs, pstdev),
)
pair_mistake(
    "the variance for the spread",
    "Lists and difference are right. The spread should have the unit of the loss: which root is missing?",
    report=lambda ours, theirs: told(ours, theirs, lambda each: stdev(each) ** 2),
)
pair_mistake(
    "the spread divided by √n",
    "Lists and difference are right. You return how well the mean is known; asked is how far one seed is from the next.",
    report=lambda ours, theirs: told(ours, theirs, lambda each: stdev(each) / len(each) ** 0.5),
)


@compare_activations.mistake(
    "the seeds counted too late, or never",
    "From one seed no spread can be told. Say so with a ValueError, before any time is spent on training.",
)
def _(bend, seeds, fit):
    return told([fit(stack(seed=s), s) for s in seeds], [fit(stack(bend, s), s) for s in seeds], no_questions)


def no_questions(each):
    """Return the standard deviation, of one number too."""
    return stdev(each) if len(each) > 1 else 0.0

"""The check of notebook 05, "Exercises": the project on one more rung."""

import random
from dataclasses import fields, replace
from statistics import mean, median, pstdev, stdev

from helpers.checks.marker import Exercise
from helpers.checks.training_adamw import by_name
from helpers.recipe import TrainConfig


class Recipe(TrainConfig):
    """A TrainConfig that shows what is unusual in it only, so that one can see it."""

    def __repr__(self):
        unusual = (field for field in fields(self) if getattr(self, field.name) != field.default)
        return f"TrainConfig({', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in unusual)})"


def pretended(config):
    """Return a loss that falls with the rate, and scatters with recipe and seed; nothing is trained."""
    chance = random.Random(repr(config))
    return 5 - 100 * config.lr + chance.gauss(0, 0.05 + 20 * config.lr)


def even(config):
    """Return a loss that depends on the rate alone: the seed makes no difference."""
    return 5 - 100 * config.lr


def rungs():
    """Return cases of two recipes, seeds and a training: more and less scatter, two seeds, one recipe twice, no scatter."""
    base = Recipe(train_iters=100, lr=1e-3)
    fast, decay, late = replace(base, lr=3e-3), replace(base, weight_decay=0.1), replace(base, seed=7, betas=(0.9, 0.95))
    return [
        ("three times the rate, three seeds", (base, fast, [0, 1, 2], pretended)),
        ("a third of the rate: less scatter", (fast, base, [0, 1, 2], pretended)),
        ("two seeds", (base, decay, [5, 3], pretended)),
        ("a recipe that has another seed", (base, late, [0, 1, 2, 3], pretended)),
        ("the recipe against itself", (base, base, [0, 1, 2], pretended)),
        ("eight seeds", (base, decay, list(range(10, 18)), pretended)),
        ("a training without chance", (base, fast, [0, 1], even)),
    ]


def told(function, old, new, seeds, train_loss):
    """Return what was trained, and the two numbers by their names."""
    trained = []

    def record(config):
        trained.append(config)
        return train_loss(config)

    got = function(old, new, seeds, record)
    names = ["; ".join(str(c.seed) for c in trained if replace(c, seed=0) == replace(r, seed=0)) for r in (old, new)]
    if replace(old, seed=0) == replace(new, seed=0):
        names = ["; ".join(sorted(str(c.seed) for c in trained))] * 2
    return {"seeds of old": names[0], "seeds of new": names[1], "returned": by_name(got, "difference", "deviation")}


def by_seed(old, new, seeds, train_loss):
    """Return the losses of both recipes, with the same seeds."""
    return [[train_loss(replace(config, seed=seed)) for seed in seeds] for config in (old, new)]


def compare_recipes(old, new, seeds, train_loss):
    """The reference: every seed put into both recipes."""
    before, after = by_seed(old, new, seeds, train_loss)
    return mean(after) - mean(before), max(stdev(before), stdev(after))


compare_recipes = Exercise(compare_recipes, rungs, run=told)


def report_mistake(name, nudge, report=None, losses=by_seed):
    """File a mistake in what is trained, or in what is reported of the two lists of losses."""
    report = report or (lambda old, new: (mean(new) - mean(old), max(stdev(old), stdev(new))))
    compare_recipes.mistake(name, nudge)(lambda *arguments: report(*losses(*arguments)))


def larger(old, new, spread=stdev):
    """Return the larger of the two spreads."""
    return max(spread(old), spread(new))


report_mistake(
    "old minus new",
    "The deviation is right. A change that helps has a negative difference: which is taken from which?",
    lambda old, new: (mean(old) - mean(new), larger(old, new)),
)
report_mistake(
    "the size of the difference",
    "Without its sign nobody can tell whether the new recipe is better or worse.",
    lambda old, new: (abs(mean(new) - mean(old)), larger(old, new)),
)
report_mistake(
    "the deviation of the differences",
    "The difference is right. You measure how far the difference scatters; asked is the larger of how far each recipe does.",
    lambda old, new: (mean(new) - mean(old), stdev(b - a for a, b in zip(old, new, strict=True))),
)
report_mistake(
    "divided by n",
    "The difference is right. The seeds are a sample of all seeds: n - 1 in the denominator. Which function has it?",
    lambda old, new: (mean(new) - mean(old), larger(old, new, pstdev)),
)
report_mistake(
    "the variance",
    "The difference is right. Its companion should have the unit of the loss: which root is missing?",
    lambda old, new: (mean(new) - mean(old), larger(old, new) ** 2),
)
report_mistake(
    "the smaller deviation",
    "The difference is right. Of two measures of chance, take the one that makes it harder to claim something.",
    lambda old, new: (mean(new) - mean(old), min(stdev(old), stdev(new))),
)
report_mistake(
    "the mean of the deviations",
    "The difference is right. Of the two deviations the larger is asked for.",
    lambda old, new: (mean(new) - mean(old), (stdev(old) + stdev(new)) / 2),
)
report_mistake(
    "the deviation of the old recipe only",
    "Right where the old recipe scatters more. The new one has a deviation, too.",
    lambda old, new: (mean(new) - mean(old), stdev(old)),
)
report_mistake(
    "the deviation of the new recipe only",
    "Right where the new recipe scatters more. The old one has a deviation, too.",
    lambda old, new: (mean(new) - mean(old), stdev(new)),
)
report_mistake(
    "all losses thrown together",
    "The difference is right. In one list the difference of the recipes itself counts as scatter: take each list by itself.",
    lambda old, new: (mean(new) - mean(old), stdev(old + new)),
)
report_mistake(
    "the deviation of the mean",
    "The difference is right. You return how well a mean is known; asked is how far one seed is from the next.",
    lambda old, new: (mean(new) - mean(old), larger(old, new) / len(old) ** 0.5),
)
report_mistake(
    "the difference of the medians",
    "The deviation is right. Asked is the difference of the means.",
    lambda old, new: (median(new) - median(old), larger(old, new)),
)
report_mistake(
    "the deviation first",
    "Both numbers are right: the difference comes first.",
    lambda old, new: (larger(old, new), mean(new) - mean(old)),
)
report_mistake(
    "seeds not put into the recipes",
    "Every training of a recipe was the same, with the seed that stood in it. How is one field of a frozen recipe replaced?",
    losses=lambda old, new, seeds, train: [[train(config) for _ in seeds] for config in (old, new)],
)
report_mistake(
    "seeds put into the new recipe only",
    "The old recipe was trained with its own seed every time, so only one of the two has a scatter.",
    losses=lambda old, new, seeds, train: [[train(old) for _ in seeds], [train(replace(new, seed=s)) for s in seeds]],
)
report_mistake(
    "other seeds for the new recipe",
    "With other seeds the two differ in luck as well: give both the same seeds.",
    losses=lambda old, new, seeds, train: [
        [train(replace(old, seed=s)) for s in seeds],
        [train(replace(new, seed=s + len(seeds))) for s in seeds],
    ],
)
report_mistake(
    "numbered instead of given seeds",
    "You train with the seeds 0, 1, 2 and so on: how many they are, and not which. The list says which.",
    losses=lambda old, new, seeds, train: by_seed(old, new, range(len(seeds)), train),
)


@compare_recipes.mistake("old against old", "The difference is always zero: which recipe goes into the second list?")
def _(old, new, seeds, train_loss):
    before, after = by_seed(old, old, seeds, train_loss)
    return mean(after) - mean(before), larger(before, after)


@compare_recipes.mistake(
    "every training done twice", "Right, at twice the price: keep the losses in two lists, and make both numbers from these."
)
def _(old, new, seeds, train_loss):
    before, after = by_seed(old, new, seeds, train_loss)
    return mean(after) - mean(before), larger(*by_seed(old, new, seeds, train_loss))

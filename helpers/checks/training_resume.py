"""The check of notebook 05, "Exercises": a run that can be resumed."""

import copy
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from helpers.checks.compare import difference
from helpers.checks.marker import Exercise

SAME, OTHER = "the same, bit for bit", "other weights"


class Small(nn.Module):
    """A model of next tokens that knows the last one only, with dropout; all write into one log: who, mode, what was drawn."""

    log: ClassVar[list] = []

    def __init__(self, p):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5)
        self.p = p
        with torch.no_grad():  # the weights are always the same, and drawing those that they replace moves the generator
            for i, weight in enumerate(self.parameters()):
                weight.copy_(torch.sin(torch.arange(weight.numel()) * 1.7 + i).view_as(weight))

    def forward(self, inputs, targets):
        """Return the mean loss over the tokens."""
        x = self.embed(inputs)
        mask = F.dropout(torch.ones_like(x), self.p, self.training)
        self.log.append((self, "training" if self.training else "evaluation", mask.flatten().tolist()))
        return F.cross_entropy(self.head(x * mask).flatten(0, 1), targets.flatten())


def plain():
    """Return a model whose dropout drops nothing."""
    return Small(0.0)


def dropping():
    """Return a model that drops half of what it embeds."""
    return Small(0.5)


def batch(i):
    """Return the batch of step i."""
    ids = (torch.arange(12).view(3, 4) ** 2 + 3 * i + i // 5) % 5
    return ids[:, :-1], ids[:, 1:]


def calls():
    """Return cases of models, batches, and the steps of one call after the other."""
    return [
        ("one call, nothing dropped", (plain, batch, [2])),
        ("no step", (plain, batch, [0])),
        ("three calls, one of them without a step; nothing dropped", (plain, batch, [1, 0, 2])),
        ("one call, with dropout", (dropping, batch, [2])),
        ("two calls, with dropout", (dropping, batch, [2, 1])),
    ]


class Recorder:
    """Hands out models and batches, and remembers which, and what became of the states that were given."""

    def __init__(self, make_model, get_batch):
        self.make, self.get, self.models, self.asked, self.changes = make_model, get_batch, [], [], set()
        Small.log.clear()

    def make_model(self):
        """Return a new model."""
        self.models.append(self.make())
        return self.models[-1]

    def get_batch(self, i):
        """Return the batch of a step."""
        if self.asked[-1:] != [i]:
            self.asked.append(i)
        return self.get(i)

    def tied(self, weights):
        """Return whether a state_dict uses the memory of a model that was handed out."""
        used = {p.data_ptr() for model in [*self.models, *(model for model, _, _ in Small.log)] for p in model.parameters()}
        return any(w.data_ptr() in used for w in weights.values())

    def in_turn(self, function, steps, luck):
        """Call the function in turn, the global generator in another state each time; return all states."""
        states = [None]
        for k, n in enumerate(steps):
            torch.default_generator.manual_seed(luck + k)
            given = copy.deepcopy(states[-1])
            states.append(function(self.make_model, self.get_batch, n, states[-1]))
            self.changes |= changes(given, states[-2])
            if states[-1] is None:
                return states
            if not isinstance(states[-1], dict) or not isinstance(states[-1].get("model"), dict):
                raise TypeError("it should return a dict with a state_dict at its key 'model'")
        return states[1:]


def leaves(value):
    """Yield what is in a state, however deep."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


def changes(before, after):
    """Return which kinds of things in a state have changed."""
    old, new = list(leaves(before)), list(leaves(after))
    if len(old) != len(new):
        return {"its contents"}
    pairs = zip(old, new, strict=True)
    return {"tensors" if isinstance(a, torch.Tensor) else "its contents" for a, b in pairs if difference(b, a, 0.0)}


def compared(weights, others):
    """Return whether two state_dicts are equal."""
    same = weights.keys() == others.keys() and all(w.equal(others[name]) for name, w in weights.items())
    return SAME if same else OTHER


def resumed(function, make_model, get_batch, n):
    """Call the function in turn with the steps in the list n, and in other ways that should end alike; return what was seen."""
    run = Recorder(make_model, get_batch)
    states = run.in_turn(function, n, luck=100)
    if None in states:
        return None
    weights = states[-1]["model"]
    seen = {"batches": run.asked, "modes": sorted({mode for _, mode, _ in Small.log})}
    if make_model is plain:
        seen["weights"] = {name: weight.clone() for name, weight in weights.items()}
    seen["memory of the weights"] = "that of a model" if run.tied(weights) else "their own"
    seen["changed in a given state"] = ", ".join(sorted(run.changes)) or "nothing"
    if make_model is dropping:
        masks = [mask for _, _, mask in Small.log]
        seen["dropout"] = "the same again in a later step" if repeated(masks) else "new in every step"
    if len(n) > 1:
        whole = function(make_model, get_batch, sum(n), None)["model"]
        seen[f"{' + '.join(map(str, n))} steps against {sum(n)}"] = compared(weights, whole)
        again = function(make_model, get_batch, n[-1], states[-2])["model"]
        seen["once more from the state before"] = compared(again, weights)
    elif make_model is dropping:
        other = Recorder(make_model, get_batch).in_turn(function, n, luck=200)[-1]["model"]
        seen["after others have drawn random numbers"] = compared(other, weights)
    return seen


def repeated(masks):
    """Return whether one mask comes twice."""
    return len({tuple(mask) for mask in masks}) < len(masks)


def train_some(make_model, get_batch, n, state=None):
    """The reference: everything is copied out of the state, and into the next; dropout has a seed for each step."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    first = 0
    if state is not None:
        model.load_state_dict(copy.deepcopy(state["model"]))
        optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        first = state["step"]
    model.train()
    for step in range(first, first + n):
        torch.default_generator.manual_seed(1000 + step)
        optimizer.zero_grad()
        model(*get_batch(step)).backward()
        optimizer.step()
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": first + n})


train_some = Exercise(train_some, calls, run=resumed, tolerance=1e-5)

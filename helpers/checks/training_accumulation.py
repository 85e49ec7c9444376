"""The check of notebook 05, "Exercises": a batch whose gradient is collected part by part."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from helpers.checks.marker import Exercise
from helpers.checks.watch import NotAllowed


class TooLarge(NotAllowed):
    """Raised where the model is given more sequences than it may be."""


class StillOpen(NotAllowed):
    """Raised where the model is given sequences before backward was called for the ones before."""


class Small(nn.Module):
    """A model of next tokens that knows the last one only; it counts how many sequences it is given."""

    def __init__(self, seed, old_gradients=False):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embed = nn.Parameter(torch.randn(7, 4, generator=generator))
        self.head = nn.Parameter(torch.randn(4, 7, generator=generator))
        self.old_gradients, self.most, self.open = old_gradients, math.inf, False

    def forward(self, inputs, targets):
        """Return the mean loss over the tokens; refuse too many sequences, and a second part before backward."""
        if len(inputs) > self.most:
            raise TooLarge(f"the model was given {len(inputs)} sequences at once, and rows is {self.most}")
        if self.open and torch.is_grad_enabled():
            raise StillOpen("the model was given the next part before backward was called for the last one")
        loss = F.cross_entropy((self.embed[inputs] @ self.head).flatten(0, 1), targets.flatten())
        if loss.requires_grad:
            self.open = True
            loss.register_hook(self.close)
        return loss

    def close(self, grad):
        """Note that backward has been called for the last part."""
        self.open = False


def batches():
    """Return cases of a model, a batch and rows: equal and unequal parts, one part, single rows, old gradients."""
    made = []
    for label, B, T, rows, old in (
        ("two equal parts", 6, 3, 3, False),
        ("a last part of one", 5, 4, 2, False),
        ("parts of three, three and two", 8, 2, 3, False),
        ("the whole batch at once", 4, 3, 4, False),
        ("rows larger than the batch", 3, 5, 10, False),
        ("one sequence at a time", 4, 2, 1, False),
        ("gradients from before", 5, 3, 3, True),
        ("a batch of one sequence", 1, 6, 2, True),
    ):
        ids = torch.randint(7, (B, T + 1), generator=torch.Generator().manual_seed(10 * B + T))
        made.append((label, (Small(B, old), ids[:, :-1].clone(), ids[:, 1:].clone(), rows)))
    return made


def gradients(function, model, inputs, targets, rows):
    """Return the gradients, what became of the weights, and the loss."""
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p) if model.old_gradients else None
    model.most = rows
    loss = function(model, inputs, targets, rows)
    same = all(p.equal(old) for p, old in zip(model.parameters(), before, strict=True))
    got = {f"{name}.grad": "None" if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    return got | {"loss": loss, "weights": "as they were" if same else "changed"}


def accumulate(model, inputs, targets, rows):
    """The reference: sequence by sequence, so that all parts are equal."""
    model.zero_grad()
    total = 0.0
    for i in range(len(inputs)):
        loss = model(inputs[i : i + 1], targets[i : i + 1]) / len(inputs)
        loss.backward()
        total += loss.item()
    return total


accumulate = Exercise(accumulate, batches, run=gradients)


def part_mistake(name, nudge, share=None, told=None, zero="before", parts=None, most=None):
    """File a mistake: share(part, batch, rows, parts) of a part; told(losses, sizes), what is returned; when to zero."""
    share = share or (lambda part, batch, rows, parts: part / batch)
    told = told or (lambda losses, sizes: sum(loss * n for loss, n in zip(losses, sizes, strict=True)).item() / sum(sizes))

    def wrong(model, inputs, targets, rows):
        rows = most(inputs) if most else rows
        cut = [(inputs[i : i + rows], targets[i : i + rows]) for i in range(0, len(inputs), rows)]
        cut, losses = parts(cut, rows) if parts else cut, []
        if zero == "before":
            model.zero_grad()
        for x, y in cut:
            if zero == "inside":
                model.zero_grad()
            loss = model(x, y)
            (loss * share(len(x), len(inputs), rows, len(cut))).backward()
            losses.append(loss.detach())
        return told(losses, [len(x) for x, _ in cut])

    accumulate.mistake(name, nudge)(wrong)


def mean_of_means(losses, sizes):
    """Return the mean of the losses of the parts."""
    return sum(losses).item() / len(losses)


part_mistake(
    "divided by the number of parts",
    "Right for equal parts. A last part of one sequence has as much say here as a whole one: what is its share of the batch?",
    share=lambda part, batch, rows, parts: 1 / parts,
    told=mean_of_means,
)
part_mistake(
    "the gradient divided by the number of parts",
    "Your loss is right: its parts are weighted. The gradients must be weighted in the same way.",
    share=lambda part, batch, rows, parts: 1 / parts,
)
part_mistake(
    "the loss returned is a mean of means",
    "The gradients are right. The loss of a small part should weigh less here, too.",
    told=mean_of_means,
)
part_mistake(
    "the last part weighed as if it were full",
    "Right where rows divides the batch. How many sequences has the last part?",
    share=lambda part, batch, rows, parts: rows / batch,
)
part_mistake(
    "not divided at all",
    "backward adds up: with three parts your gradient is about three times too large.",
    share=lambda part, batch, rows, parts: 1,
)
part_mistake(
    "multiplied by the size of the part only",
    "Your gradient is that of the sum over the sequences; asked is that of the mean over the batch.",
    share=lambda part, batch, rows, parts: part,
)
part_mistake(
    "old gradients not forgotten",
    "Right, unless there is something in .grad when your function is called: backward adds to it.",
    zero="never",
)
part_mistake(
    "gradients forgotten at every part",
    "What is left at the end is the gradient of the last part only: how often should be forgotten what came before?",
    zero="inside",
)
part_mistake(
    "the incomplete part dropped",
    "Every sequence counts, those of a last, smaller part, too.",
    parts=lambda cut, rows: [part for part in cut if len(part[0]) == rows] or cut,
)
part_mistake(
    "the loss of the last part returned",
    "The gradients are right; the loss should be the mean over the whole batch.",
    told=lambda losses, sizes: losses[-1].item(),
)
part_mistake(
    "the sum of the losses returned",
    "The gradients are right; the loss should be a mean over the batch, not grow with the number of parts.",
    told=lambda losses, sizes: sum(losses).item(),
)
part_mistake(
    "the loss returned as a tensor",
    "All is right but the type: a float is asked for. A tensor that still hangs on the model would keep memory, too.",
    told=lambda losses, sizes: sum(loss * n for loss, n in zip(losses, sizes, strict=True)) / sum(sizes),
)
part_mistake(
    "the whole batch at once",
    "It doesn't fit into memory; that is why there are parts. How many sequences may the model be given?",
    most=len,
)


@accumulate.mistake(
    "divided by rows",
    "Your parts are weighted with the number of sequences in one of them. What share of the batch has a part?",
)
def _(model, inputs, targets, rows):
    model.zero_grad()
    total = 0.0
    for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
        loss = model(x, y) / rows
        loss.backward()
        total += loss.item()
    return total


@accumulate.mistake(
    "as many parts as fit whole",
    "len(inputs) // rows leaves out what is left over: how many parts are there, the smaller one included?",
)
def _(model, inputs, targets, rows):
    model.zero_grad()
    parts, total = len(inputs) // rows, 0.0
    for k in range(parts):
        part = slice(k * rows, (k + 1) * rows)
        loss = model(inputs[part], targets[part]) / parts
        loss.backward()
        total += loss.item()
    return total


@accumulate.mistake(
    "one backward at the end",
    "The numbers would be right. But until then the intermediate results of all parts stay in memory, as for the large batch.",
)
def _(model, inputs, targets, rows):
    model.zero_grad()
    cuts = [slice(i, i + rows) for i in range(0, len(inputs), rows)]
    loss = sum(model(inputs[cut], targets[cut]) * len(inputs[cut]) for cut in cuts) / len(inputs)
    loss.backward()
    return loss.item()


@accumulate.mistake("a step taken", "Gradients and loss are right, and the weights have moved: that is left to the caller.")
def _(model, inputs, targets, rows):
    loss = accumulate.reference(model, inputs, targets, rows)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss

"""The check of notebook 04 on weight tying: tie."""

import re
from contextlib import suppress

import torch
from torch import nn

from helpers.checks.marker import Exercise


def pair(V, C, bias=False, head=None, seed=0):
    """Return (embedding, head) of V tokens and width C; head: the shape (out, in) of the head, if it is another."""
    torch.manual_seed(seed)
    out, width = head or (V, C)
    return nn.Embedding(V, C), nn.Linear(width, out, bias=bias)


def already(V, C, bias=False):
    """Return a pair that is tied."""
    embedding, head = pair(V, C, bias)
    head.weight = embedding.weight
    return embedding, head


def equal(V, C):
    """Return a pair of two matrices that hold equal numbers."""
    embedding, head = pair(V, C)
    head.weight.data.copy_(embedding.weight.data)
    return embedding, head


def pairs():
    """Return cases of embedding and head: usual ones, with a bias, square, tied, equal, one token, other shapes."""
    return [
        ("six tokens, a width of 3", pair(6, 3)),
        ("a head with a bias", pair(7, 4, bias=True)),
        ("as many tokens as width", pair(5, 5, seed=1)),
        ("tied already", already(6, 3)),
        ("tied already, the head has a bias", already(4, 5, bias=True)),
        ("equal numbers in two matrices", equal(6, 3)),
        ("one token", pair(1, 4)),
        ("the head has another vocabulary", pair(8, 4, head=(7, 4))),
        ("the head has another width", pair(8, 4, bias=True, head=(8, 6))),
        ("the head has the shape (C, V)", pair(6, 4, head=(4, 6))),
    ]


def afterwards(function, embedding, head):
    """Return what the function did: what it returned or raised, and what embedding and head are then."""
    parameter, wanted = embedding.weight, [tuple(embedding.weight.shape), tuple(head.weight.shape)]
    said = {"what happens": "a value is returned", "the number": None, "shapes that the error names": []}
    try:
        said["the number"] = function(embedding, head)
    except ValueError as error:
        numbers = " ".join(re.findall(r"\d+", str(error)))
        named = [shape for shape in wanted if re.search(r"\b{} {}\b".format(*shape), numbers)]
        said |= {"what happens": "a ValueError is raised", "shapes that the error names": named}
    said["embedding.weight"] = embedding.weight.detach().clone()
    said["head.weight"] = head.weight.detach().clone()
    said["head.weight is embedding.weight"] = head.weight is embedding.weight
    said["embedding.weight is the same object as before"] = embedding.weight is parameter
    said["the head's bias"] = None if head.bias is None else head.bias.detach().clone()
    with torch.no_grad():
        embedding.weight.mul_(2)
    said["head.weight after embedding.weight was doubled"] = head.weight.detach().clone()
    return said


def tie(embedding, head):
    """The reference: compare, look whether there is anything to do, assign."""
    if embedding.weight.shape != head.weight.shape:
        raise ValueError(f"cannot tie {tuple(embedding.weight.shape)} and {tuple(head.weight.shape)}")
    if head.weight is embedding.weight:
        return 0
    head.weight = embedding.weight
    return embedding.weight.numel()


tie = Exercise(tie, pairs, run=afterwards, changes=True)


def compare(embedding, head):
    """Raise ValueError if the shapes differ."""
    if embedding.weight.shape != head.weight.shape:
        raise ValueError(f"{tuple(embedding.weight.shape)} is not {tuple(head.weight.shape)}.")


@tie.mistake(
    "numbers copied",
    "The numbers agree now, and part at the first step of training: two Parameters remain. What does `is` say of them?",
)
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    head.weight.data = embedding.weight.data.clone()
    return head.weight.numel()


@tie.mistake(
    "the same memory, but two Parameters",
    "A change of one is seen in the other, but each has its own gradient, and an optimiser moves both: share more than .data.",
)
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    head.weight.data = embedding.weight.data
    return head.weight.numel()


@tie.mistake(
    "shared the wrong way round",
    "One object now, but with the head's numbers. Whose numbers were to survive? Who is given whose?",
)
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    embedding.weight = head.weight
    return head.weight.numel()


@tie.mistake(
    "a third Parameter for both",
    "They are one object, but a new one: an optimiser that was made before still holds the embedding's own, and moves nothing.",
)
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    embedding.weight = head.weight = nn.Parameter(embedding.weight.detach().clone())
    return head.weight.numel()


@tie.mistake("a saving where they are tied already", "Tied right. But what is saved by a call that finds them tied?")
def _(embedding, head):
    compare(embedding, head)
    head.weight = embedding.weight
    return head.weight.numel()


@tie.mistake(
    "equal numbers taken for tied",
    "Equal numbers are not one object: after a step they differ. Which comparison asks for identity?",
)
def _(embedding, head):
    compare(embedding, head)
    if torch.equal(head.weight, embedding.weight):
        return 0
    head.weight = embedding.weight
    return head.weight.numel()


@tie.mistake(
    "shapes not compared", "PyTorch lets you assign a matrix of any shape, and complains at the next call at best. Who should?"
)
def _(embedding, head):
    saved = 0 if head.weight is embedding.weight else head.weight.numel()
    head.weight = embedding.weight
    return saved


@tie.mistake(
    "only the numbers of entries compared",
    "A (6, 4) matrix and a (4, 6) one have equally many numbers, and are not the same shape.",
)
def _(embedding, head):
    if embedding.weight.numel() != head.weight.numel():
        compare(embedding, head)
    saved = 0 if head.weight is embedding.weight else head.weight.numel()
    head.weight = embedding.weight
    return saved


@tie.mistake(
    "the head's matrix taken for (C, V)",
    "nn.Linear(C, V) stores its matrix with a row for each output, and multiplies by its transpose. Print head.weight.shape.",
)
def _(embedding, head):
    if embedding.weight.T.shape != head.weight.shape:
        raise ValueError(f"{tuple(embedding.weight.shape)} does not fit {tuple(head.weight.shape)}.")
    if head.weight is embedding.weight:
        return 0
    head.weight = nn.Parameter(embedding.weight.T)
    return head.weight.numel()


@tie.mistake(
    "tied first, then compared",
    "The error is right, and comes too late: the head has been changed. Which question comes first?",
)
def _(embedding, head):
    shapes, saved = (embedding.weight.shape, head.weight.shape), head.weight.numel()
    saved = 0 if head.weight is embedding.weight else saved
    head.weight = embedding.weight
    if shapes[0] != shapes[1]:
        raise ValueError(f"{tuple(shapes[0])} is not {tuple(shapes[1])}.")
    return saved


@tie.mistake("an error that does not name the shapes", "The error comes in time. Say in it which two shapes do not fit.")
def _(embedding, head):
    with suppress(ValueError):
        compare(embedding, head)
        return tie.reference(embedding, head)
    raise ValueError("The shapes of embedding and head differ.")


@tie.mistake("the error returned", "An error that is returned stops nobody. Which statement does?")
def _(embedding, head):
    try:
        return tie.reference(embedding, head)
    except ValueError as error:
        return error


@tie.mistake(
    "the bias counted as saved", "Right without a bias. With one: does the head lose its bias when it is given another matrix?"
)
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    saved = sum(p.numel() for p in head.parameters())
    head.weight = embedding.weight
    return saved


@tie.mistake("the bias thrown away", "The weights are tied. The head's bias was to stay as it is.")
def _(embedding, head):
    compare(embedding, head)
    if head.weight is embedding.weight:
        return 0
    head.weight, head.bias = embedding.weight, None
    return head.weight.numel()


@tie.mistake(
    "an assert instead of an error", "An assert says that a program is wrong; bad input is a ValueError with a sentence."
)
def _(embedding, head):
    assert embedding.weight.shape == head.weight.shape
    return tie.reference(embedding, head)

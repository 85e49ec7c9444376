"""The known mistakes in the probe for the future: leaks, of notebook 04."""

import torch

from helpers.checks.gpt_leaks import leaks


def probed(f, x, part=None, add=lambda grad: grad.abs().sum(-1), wanted=lambda t, s: s > t, least=0.0):
    """Return the sorted pairs that are wanted and felt.

    part(logits) gives the numbers of a place that are differentiated, one after the other, all by default; add(grad)
    makes one number for each place of x.
    """
    x = x.detach().clone().requires_grad_()
    y = f(x)
    felt = torch.zeros(x.size(1), x.size(1), dtype=x.dtype)
    for t in range(x.size(1) if y.requires_grad else 0):
        for number in part(y[0, t]) if part else y[0, t]:
            felt[t] += add(torch.autograd.grad(number, x, retain_graph=True, materialize_grads=True)[0][0]).abs()
    return [(t, s) for t in range(len(felt)) for s in range(len(felt)) if wanted(t, s) and felt[t, s] > least]


@leaks.mistake(
    "the V numbers added up",
    "What does the sum of a softmax depend on? Gradients of opposite sign cancel before you look at them.",
)
def _(f, x):
    return probed(f, x, part=lambda logits: [logits.sum()])


@leaks.mistake(
    "one of the V numbers only", "The first number of a place may be right and the last one leak: how many are there to probe?"
)
def _(f, x):
    return probed(f, x, part=lambda logits: [logits[0]])


@leaks.mistake("the largest number only", "The other V - 1 numbers of a place can leak too, and a softmax uses them all.")
def _(f, x):
    return probed(f, x, part=lambda logits: [logits.max()])


@leaks.mistake(
    "the numbers of a gradient added up with their signs",
    "A place may get +1 in one number and -1 in another. They don't cancel: it is felt twice.",
)
def _(f, x):
    return probed(f, x, add=lambda grad: grad.sum(-1))


@leaks.mistake(
    "a pair for each number that is felt", "The pairs are right, but some are there several times: V numbers can say the same."
)
def _(f, x):
    x = x.detach().clone().requires_grad_()
    y, pairs = f(x), []
    for t in range(x.size(1) if y.requires_grad else 0):
        for number in y[0, t]:
            grad = torch.autograd.grad(number, x, retain_graph=True, materialize_grads=True)[0][0]
            pairs += [(t, s) for s in range(t + 1, x.size(1)) if (grad[s] != 0).any()]
    return pairs


@leaks.mistake("the place itself counted", "A place may feel itself. Where does the future of place t begin?")
def _(f, x):
    return probed(f, x, wanted=lambda t, s: s >= t)


@leaks.mistake(
    "the past taken for the future", "What comes earlier may be felt, and what comes later may not: which of the two is s > t?"
)
def _(f, x):
    return probed(f, x, wanted=lambda t, s: s < t)


@leaks.mistake("every pair that is felt", "You list what the function looks at. Only the future, s > t, is a leak.")
def _(f, x):
    return probed(f, x, wanted=lambda t, s: True)


@leaks.mistake(
    "the pairs the other way round", "First the place whose logits are read, then the later one that they should not feel."
)
def _(f, x):
    return sorted((s, t) for t, s in probed(f, x))


@leaks.mistake("sorted by s", "All pairs are there. A sorted list of pairs goes by the first number, then by the second.")
def _(f, x):
    return sorted(probed(f, x), key=lambda pair: pair[::-1])


@leaks.mistake("small gradients overlooked", "A leak of a billionth is a leak: a masked place has a gradient of exactly zero.")
def _(f, x):
    return probed(f, x, least=1e-6)


def by_backward(f, x, clear=True, part=iter):
    """Return the pairs, found with backward: what it adds up in x.grad is cleared before each number, or never."""
    y, pairs = f(x), set()
    for t in range(x.size(1) if y.requires_grad else 0):
        for number in part(y[0, t]):
            x.grad = None if clear else x.grad
            number.backward(retain_graph=True)
            felt = torch.zeros(x.size(1)) if x.grad is None else x.grad[0].abs().sum(-1)
            pairs |= {(t, s) for s in range(t + 1, x.size(1)) if felt[s] > 0}
    return sorted(pairs)


@leaks.mistake(
    "gradients of earlier places added up",
    "backward adds to what is in .grad: the gradients of place 0 are still there when you look at place 1.",
)
def _(f, x):
    return by_backward(f, x.detach().clone().requires_grad_(), clear=False)


@leaks.mistake(
    "the V numbers added up, and earlier gradients kept",
    "Two things: gradients of opposite sign cancel in a sum over V, and backward adds to what is in .grad from places before.",
)
def _(f, x):
    return by_backward(f, x.detach().clone().requires_grad_(), clear=False, part=lambda logits: [logits.sum()])


@leaks.mistake(
    "traces left in f",
    "The pairs are right. But backward has filled the .grad of every parameter in f: which function only returns it?",
)
def _(f, x):
    return by_backward(f, x.detach().clone().requires_grad_())


@leaks.mistake(
    "traces left in x and in f",
    "The pairs are right. But backward has filled the .grad of x and of every parameter in f: which function only returns it?",
)
def _(f, x):
    return by_backward(f, x.requires_grad_())


@leaks.mistake("traces left in x", "The pairs are right. But the caller's x asks for gradients now: work on a copy of it.")
def _(f, x):
    y, pairs = f(x.requires_grad_()), []
    for t in range(x.size(1) if y.requires_grad else 0):
        grads = [torch.autograd.grad(n, x, retain_graph=True, materialize_grads=True)[0][0] for n in y[0, t]]
        pairs += [(t, s) for s in range(t + 1, x.size(1)) if any((grad[s] != 0).any() for grad in grads)]
    return pairs


@leaks.mistake(
    "an error where f ignores its input",
    "If nothing in f(x) depends on x, PyTorch has no gradient to give. Which answer is right then?",
)
def _(f, x):
    x = x.detach().clone().requires_grad_()
    y, pairs = f(x), []
    for t in range(x.size(1)):
        grads = [torch.autograd.grad(number, x, retain_graph=True)[0][0] for number in y[0, t]]
        pairs += [(t, s) for s in range(t + 1, x.size(1)) if any((grad[s] != 0).any() for grad in grads)]
    return pairs


@leaks.mistake(
    "places changed, instead of gradients",
    "That is the other test, section 4.11's. Here a jump without a slope is no leak, and a billionth is.",
)
@torch.no_grad()
def _(f, x):
    base, pairs = f(x), []
    for s in range(x.size(1)):
        changed = x.clone()
        changed[0, s] += 1.0
        pairs += [(t, s) for t in range(s) if (f(changed) - base)[0, t].abs().max() > 1e-6]
    return sorted(pairs)

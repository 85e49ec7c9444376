"""The checks of notebook 02, "Exercises": the backward pass of causal attention by hand."""

import math

import torch

from helpers.attention import causal_mask
from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch

AUTOGRAD = "autograd is asked for the gradients; here they are computed by hand"


def gradients():
    """Return cases of q, k, v and grad_y: usual ones, one token, the loss of one answer only, saturated queries, equal keys."""
    made = [
        (f"{T} tokens, D = {D}", tuple(normal(T, D, seed=10 * T + i) for i in range(4)))
        for T, D in ((3, 2), (5, 8), (6, 6), (12, 4))
    ]
    q, k, v, grad_y = made[1][1]
    of_one = torch.zeros_like(grad_y)
    of_one[2] = grad_y[2]
    return [
        *made,
        ("one token", tuple(normal(1, 4, seed=i) for i in range(4))),
        ("the loss depends on the third answer only", (q, k, v, of_one)),
        ("some queries saturated", (q * torch.tensor([1.0, 1, 100, 1, 100])[:, None], k, v, grad_y)),
        ("two equal keys", (q, k[[0, 0, 2, 3, 4]], v, grad_y)),
    ]


def without_autograd(function, q, k, v, grad_y):
    """Call the function, without autograd, and name the gradients; that of v, the simplest, is looked at first."""
    with Watch(dict.fromkeys(("requires_grad", "set", "backward", "grad"), AUTOGRAD)):
        got = function(q, k, v, grad_y)
    if not isinstance(got, tuple | list) or len(got) != 3:
        what = f"{len(got)} things" if isinstance(got, tuple | list) else f"something else ({type(got).__name__})"
        raise TypeError(f"it should return a tuple of three gradients, of q, k and v, and returned {what}")
    return {f"gradient of {name}": got[i] for name, i in (("v", 2), ("q", 0), ("k", 1))}


def attention_backward(q, k, v, grad_y):
    """The reference: for each query, all derivatives of its weights by its scores in a table, diag(w) - w wᵀ."""
    scale = 1 / math.sqrt(q.size(1))
    weights = (q @ k.T * scale + causal_mask(len(q))).softmax(1)
    grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
    for t, w in enumerate(weights):
        table = w.diag() - w.outer(w)  # (T, T)
        grad_scores = table @ (v @ grad_y[t])  # (T,)
        grad_q[t] = grad_scores @ k * scale
        grad_k += grad_scores.outer(q[t]) * scale
    return grad_q, grad_k, weights.T @ grad_y


attention_backward = Exercise(attention_backward, gradients, run=without_autograd)


def forward(q, k):
    """Return the weights (T, T) of causal attention."""
    return (q @ k.T / math.sqrt(q.size(1)) + causal_mask(len(q))).softmax(1)


def through_softmax(w, grad_w):
    """Return the gradient on the scores, from that on the weights."""
    return w * (grad_w - (w * grad_w).sum(1, keepdim=True))


@attention_backward.mistake(
    "no mask", "The gradients belong to attention that sees the future: with what weights was the output computed?"
)
def _(q, k, v, grad_y):
    w = (q @ k.T / math.sqrt(q.size(1))).softmax(1)
    grad_a = through_softmax(w, grad_y @ v.T) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "no scaling", "The weights are too sharp, and so all three gradients are wrong: what are the scores divided by?"
)
def _(q, k, v, grad_y):
    w = (q @ k.T + causal_mask(len(q))).softmax(1)
    grad_a = through_softmax(w, grad_y @ v.T)
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "scaling forgotten on the way back",
    "The gradient of v is right, the others are too large: the scores were divided by √D; what does that do to a gradient?",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = through_softmax(w, grad_y @ v.T)
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "softmax taken for a function of one score",
    "The gradient of v is right. A score moves the weights of all positions, since they share one sum: see the text's fact.",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = w * (1 - w) * (grad_y @ v.T) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "softmax left out on the way back",
    "The gradient of v is right. Between the weights and the scores stands the softmax, and here it lets everything through.",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = grad_y @ v.T / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "the sum over the queries",
    "The gradient of v is right. In the fact of the text, s runs over what one query looks at: which dimension is that?",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_w = grad_y @ v.T
    grad_a = w * (grad_w - (w * grad_w).sum(0)) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "one sum for the whole table",
    "The gradient of v is right. Each query has a softmax of its own, so each row has a sum of its own.",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_w = grad_y @ v.T
    grad_a = w * (grad_w - (w * grad_w).sum()) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w.T @ grad_y


@attention_backward.mistake(
    "weights not transposed for v",
    "Only the gradient of v is wrong. v[s] feeds all answers that look at s: is that a row of the weights, or a column?",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = through_softmax(w, grad_y @ v.T) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a.T @ q, w @ grad_y


@attention_backward.mistake(
    "scores not transposed for k",
    "Only the gradient of k is wrong. k[s] feeds the scores of all queries that see s: is that a row of scores, or a column?",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = through_softmax(w, grad_y @ v.T) / math.sqrt(q.size(1))
    return grad_a @ k, grad_a @ q, w.T @ grad_y


@attention_backward.mistake(
    "q and k exchanged",
    "The gradient of v is right. How fast does q · k change with q? That is not q.",
)
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = through_softmax(w, grad_y @ v.T) / math.sqrt(q.size(1))
    return grad_a @ q, grad_a.T @ k, w.T @ grad_y


@attention_backward.mistake("gradient of v returned first", "They are right, in another order: return those of q, k and v.")
def _(q, k, v, grad_y):
    w = forward(q, k)
    grad_a = through_softmax(w, grad_y @ v.T) / math.sqrt(q.size(1))
    return w.T @ grad_y, grad_a @ k, grad_a.T @ q


@attention_backward.mistake(
    "autograd",
    "Autograd does what you should do here. Go through the products backwards, from y to the weights, the scores, q and k.",
)
def _(q, k, v, grad_y):
    q, k, v = (m.clone().requires_grad_() for m in (q, k, v))
    (forward(q, k) @ v).backward(grad_y)
    return q.grad, k.grad, v.grad

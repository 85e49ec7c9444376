"""The check of notebook 03, "Exercises": the backward pass of RMSNorm."""

import torch

from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise
from helpers.checks.watch import NotAllowed, Watch

AUTOGRAD = "autograd is asked for the gradients; here they are computed by hand"
READY = "a finished norm is called; here it is written by hand"
FORBIDDEN = dict.fromkeys(("requires_grad", "set", "backward", "grad"), AUTOGRAD)
FORBIDDEN |= dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm"), READY)


class FinishedNorm(NotAllowed):
    """Raised inside a student's function, at the line that calls a norm which should be written."""


def tokens():
    """Return cases of x, gain, grad and perhaps eps: usual ones, a loss of one number, zeros, tiny numbers, a large eps."""
    sizes = (2, 3, 8), (1, 6, 4), (3, 3, 3), (2, 1, 5)
    made = [[normal(B, T, C, seed=C) + 1, normal(C, seed=C + 1), normal(B, T, C, seed=C + 2)] for B, T, C in sizes]
    x, gain, grad = made[0]
    first = torch.zeros(1, 1, 4).index_fill(2, torch.tensor(0), 1.0)
    by_hand = (torch.tensor([[[1.0, 7, 9, 15]]]), torch.ones(4), first)
    flat = torch.cat((torch.zeros(2, 1, 8), x[:, 1:]), dim=1)
    usual = [(f"B, T, C = {tuple(case[0].shape)}", tuple(case)) for case in made]
    return [
        ("the four numbers of section 3.2, the loss is the first of the output", by_hand),
        *usual,
        ("one feature", (x[..., :1].clone(), gain[:1], grad[..., :1].clone())),
        ("a token of zeros in each sequence", (flat, gain, grad)),
        ("tiny numbers, beside which eps counts", (x / 1000, gain, grad)),
        ("eps = 0.5", (x, gain, grad, 0.5)),
        ("double precision", (x.double(), gain.double(), grad.double())),
    ]


def watched(function, names, *arguments):
    """Call the function without autograd or finished norms, and return its results by name."""
    try:
        with Watch(FORBIDDEN):
            got = function(*arguments)
    except NotAllowed as error:
        raise (FinishedNorm(READY) if READY in str(error) else error).with_traceback(error.__traceback__) from None
    if not isinstance(got, tuple | list) or len(got) != len(names):
        what = f"{len(got)} things" if isinstance(got, tuple | list) else f"one thing ({type(got).__name__})"
        what = "None: is there a return?" if got is None else what
        raise TypeError(f"it should return a tuple of {len(names)}: {', '.join(names)}; it returned {what}")
    return dict(zip(names, got, strict=True))


def by_name(function, *arguments):
    """Return the two gradients by name; that of the gain, the simpler one, is looked at first."""
    got = watched(function, ("gradient of x", "gradient of gain"), *arguments)
    return {name: got[name] for name in ("gradient of gain", "gradient of x")}


def rms_norm_backward(grad, x, gain, eps=1e-5):
    """The reference: for each token, all derivatives of its normalised numbers by its numbers in a table."""
    C = x.size(-1)
    grad_x, grad_gain = torch.zeros_like(x), torch.zeros_like(gain)
    for token, arrives, out in zip(x.reshape(-1, C), grad.reshape(-1, C), grad_x.view(-1, C), strict=True):
        root = ((token @ token) / C + eps).sqrt()
        table = torch.eye(C, dtype=x.dtype) / root - token.outer(token) / (C * root**3)  # (C, C)
        out.copy_(table @ (arrives * gain))
        grad_gain += arrives * token / root
    return grad_x, grad_gain


rms_norm_backward = Exercise(
    rms_norm_backward, lambda: [(label, (grad, x, gain, *eps)) for label, (x, gain, grad, *eps) in tokens()], run=by_name
)


def root_of(x, eps):
    """Return the root mean square of each token, (B, T, 1)."""
    return (x.square().mean(-1, keepdim=True) + eps).sqrt()


def mean(x):
    """Return the mean of each token, (B, T, 1)."""
    return x.mean(-1, keepdim=True)


def rms_mistake(name, nudge, grad_x=None, grad_gain=None):
    """File a mistake in one of the gradients, made from h, the normalised x, the root, x and grad; the other one is right."""
    grad_x = grad_x or (lambda h, normed, root, x, grad: (h - normed * mean(h * normed)) / root)
    grad_gain = grad_gain or (lambda h, normed, root, x, grad: (grad * normed).sum((0, 1)))

    def wrong(grad, x, gain, eps=1e-5):
        root = root_of(x, eps)
        given = grad * gain, x / root, root, x, grad
        return grad_x(*given), grad_gain(*given)

    rms_norm_backward.mistake(name, nudge)(wrong)


rms_mistake(
    "the term of the mean left in",
    "The gradient of gain is right. Which of layer norm's three ways does not exist, if no mean is taken off?",
    lambda h, normed, root, x, grad: (h - mean(h) - normed * mean(h * normed)) / root,
)
rms_mistake(
    "the way through the root missing",
    "The gradient of gain is right. Each number of a token also acts on all the others: through what?",
    lambda h, normed, root, x, grad: h / root,
)
rms_mistake(
    "not divided by the root",
    "The gradient of gain is right. A token ten times as large should get a gradient a tenth as large: does it?",
    lambda h, normed, root, x, grad: h - normed * mean(h * normed),
)
rms_mistake(
    "only the first term divided by the root",
    "The gradient of gain is right. Two terms, and both pass through the division: which of yours does not?",
    lambda h, normed, root, x, grad: h / root - normed * mean(h * normed),
)
rms_mistake(
    "x in place of the normalised x",
    "The gradient of gain is right. In the box of section 3.2 stands x with a hat, twice.",
    lambda h, normed, root, x, grad: (h - x * mean(h * x)) / root,
)
rms_mistake(
    "the gain left out on the way to x",
    "The gradient of gain is right. The last step forward was a multiplication by the gain: what does it do on the way back?",
    lambda h, normed, root, x, grad: (grad - normed * mean(grad * normed)) / root,
)
rms_mistake(
    "the sum for the mean",
    "The gradient of gain is right. In the second term: a sum over the features, or their mean?",
    lambda h, normed, root, x, grad: (h - normed * (h * normed).sum(-1, keepdim=True)) / root,
)
rms_mistake(
    "the second term added",
    "The gradient of gain is right. A larger x_j makes the root larger and the result smaller: with which sign?",
    lambda h, normed, root, x, grad: (h + normed * mean(h * normed)) / root,
)
rms_mistake(
    "one mean for all tokens",
    "The gradient of gain is right. Each token is normalised by itself: over which dimension is the mean on the way back?",
    lambda h, normed, root, x, grad: (h - normed * (h * normed).mean()) / root,
)
rms_mistake(
    "the gain's gradient not summed",
    "One gain serves all tokens of all sequences: its gradient has its shape, (C,), and collects from all of them.",
    grad_gain=lambda h, normed, root, x, grad: grad * normed,
)
rms_mistake(
    "the gain's gradient summed over the batch only",
    "One gain serves all tokens, of all sequences and at all places: one of the two sums is missing.",
    grad_gain=lambda h, normed, root, x, grad: (grad * normed).sum(0),
)
rms_mistake(
    "the gain's gradient averaged",
    "Every token adds its share to the gradient of the gain; none is divided by their number.",
    grad_gain=lambda h, normed, root, x, grad: (grad * normed).mean((0, 1)),
)
rms_mistake(
    "the gain's gradient from x itself",
    "What is multiplied by the gain in the forward pass: x, or the normalised x?",
    grad_gain=lambda h, normed, root, x, grad: (grad * x).sum((0, 1)),
)
rms_mistake(
    "the gain's gradient times the gain",
    "The derivative of gain times something, by the gain, is that something: the gain itself has gone.",
    grad_gain=lambda h, normed, root, x, grad: (h * normed).sum((0, 1)),
)


@rms_norm_backward.mistake(
    "the backward pass of layer norm",
    "Both gradients belong to a norm that takes the mean off. What is normalised here, and how?",
)
def _(grad, x, gain, eps=1e-5):
    x = x - mean(x)
    h, root = grad * gain, root_of(x, eps)
    return (h - mean(h) - x / root * mean(h * x / root)) / root, (grad * x / root).sum((0, 1))


@rms_norm_backward.mistake(
    "eps forgotten", "Right for usual tokens; a token of zeros is divided by zero: by what was x divided in the forward pass?"
)
def _(grad, x, gain, eps=1e-5):
    h, root = grad * gain, root_of(x, 0)
    return (h - x / root * mean(h * x / root)) / root, (grad * x / root).sum((0, 1))


@rms_norm_backward.mistake("gradient of gain returned first", "They are right, in another order: first that of x.")
def _(grad, x, gain, eps=1e-5):
    return tuple(reversed(rms_norm_backward.reference(grad, x, gain, eps)))


@rms_norm_backward.mistake(
    "autograd", "Autograd is good for comparing. Here you write what it does: start from the box of section 3.2."
)
def _(grad, x, gain, eps=1e-5):
    x, gain = x.clone().requires_grad_(), gain.clone().requires_grad_()
    (x / root_of(x, eps) * gain).backward(grad)
    return x.grad, gain.grad

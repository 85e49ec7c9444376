"""The check of notebook 05, "Exercises": the cross-entropy in which some tokens don't count."""

import math

import torch
from torch.nn import functional as F

from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise
from helpers.checks.watch import Watch

FORBIDDEN = ("cross_entropy", "cross_entropy_loss", "nll_loss", "log_softmax", "special_log_softmax", "logsumexp")
FORBIDDEN += ("special_logsumexp",)
READY = "a finished cross_entropy, log_softmax or logsumexp is called; here it is written with exp, sum and log"
DETACHED = "nothing: the loss has no way back to the logits"


def predictions():
    """Return cases of logits, targets and ignore: all count, some, one, none; large logits; ids of every kind ignored."""
    few = torch.tensor([1, -100, 0, 3, -100, 2])
    rows = torch.tensor([[500.0], [0.0], [-500.0]])  # the level of each token's logits, which cancels
    sure = torch.tensor([[1e4, 0.0, -1e4], [0.0, 300.0, 0.0], [-500.0, -900.0, -500.0], [1e4, 1e4, 0.0]])
    return [
        ("all four tokens count", (normal(4, 5, seed=1), torch.tensor([2, 0, 4, 4]), -100)),
        ("four of six tokens count, ignore left out", (normal(6, 4, seed=2), few)),
        ("as many tokens as ids", (normal(4, 4, seed=3), torch.tensor([3, -100, 1, 0]), -100)),
        ("one token", (normal(1, 3, seed=4), torch.tensor([2]), -100)),
        ("an id of the vocabulary is ignored", (normal(5, 4, seed=5), torch.tensor([0, 3, 0, 1, 2]), 0)),
        ("ignore is -1", (normal(5, 4, seed=6), torch.tensor([2, -1, 1, 3, -1]), -1)),
        ("ignore is beyond the vocabulary", (normal(3, 4, seed=7), torch.tensor([2, 50, 1]), 50)),
        ("logits of ten thousand, right and wrong", (sure, torch.tensor([1, 1, 1, 2]), -100)),
        ("each token's logits on another level", (normal(3, 4, seed=8) + rows, torch.tensor([0, 1, 3]), -100)),
        ("no token counts", (normal(3, 4, seed=9), torch.full((3,), -100), -100)),
        ("float64 logits", (normal(4, 5, seed=10).double(), torch.tensor([2, -100, 4, 1]), -100)),
        ("float64 logits, and no token counts", (normal(2, 4, seed=11).double(), torch.tensor([1, 1]), 1)),
    ]


def with_gradient(function, logits, targets, *ignore):
    """Return the loss, and the gradient that it sends back to the logits."""
    leaf, ids = logits.clone().requires_grad_(), targets.clone()  # as they were, should the first call change them
    with Watch(dict.fromkeys(FORBIDDEN, READY)):
        loss = inside(function, logits, targets, *ignore)
        again = inside(function, leaf * 1, ids.clone(), *ignore)
    if not isinstance(again, torch.Tensor) or again.shape:
        return {"loss": loss, "gradient": "none, without a tensor of shape ()"}
    if not again.requires_grad:
        return {"loss": loss, "gradient": DETACHED if (ids != (*ignore, -100)[0]).any() else torch.zeros_like(leaf)}
    again.backward()
    return {"loss": loss, "gradient": leaf.grad}


def inside(function, *arguments):
    """Call the function; whatever way of looking up an id says that it does not exist, raise IndexError."""
    try:
        return function(*arguments)
    except RuntimeError as error:
        if "out of bounds" in str(error):
            raise IndexError(str(error).splitlines()[0]).with_traceback(error.__traceback__) from None
        raise


def masked_cross_entropy(logits, targets, ignore=-100):
    """The reference: token by token, the logarithm of the sum of powers, all relative to the largest logit."""
    total, count = logits.sum() * 0, 0
    for z, target in zip(logits, targets, strict=True):
        if target != ignore:
            total, count = total + (z - z.max()).exp().sum().log() - (z[target] - z.max()), count + 1
    return total / max(1, count)


masked_cross_entropy = Exercise(masked_cross_entropy, predictions, run=with_gradient)


def log_p(logits):
    """Return the logarithm of every probability, (N, V), safely."""
    z = logits - logits.amax(1, keepdim=True)
    return z - z.exp().sum(1, keepdim=True).log()


def at(table, targets):
    """Return the entry of each row at its target."""
    return table[torch.arange(len(targets)), targets]


def loss_mistake(name, nudge, mean=None, table=log_p, select=torch.ne):
    """File a mistake: in the table of logarithms, in which tokens count, or in how their losses become one number."""
    mean = mean or (lambda chosen: -chosen.sum() / max(1, len(chosen)))

    def wrong(logits, targets, ignore=-100):
        counted = select(targets, ignore)
        return mean(at(table(logits[counted]), targets[counted]))

    masked_cross_entropy.mistake(name, nudge)(wrong)


loss_mistake(
    "exp overflows",
    "Right for moderate logits; exp of ten thousand is infinite. What may be subtracted from all logits of a token?",
    table=lambda z: (z.exp() / z.exp().sum(1, keepdim=True)).log(),
)
loss_mistake(
    "the logarithm of a rounded probability",
    "softmax is safe, but a probability below 1e-45 is rounded to 0, and its logarithm is lost. Take the logarithm before.",
    table=lambda z: z.softmax(1).log(),
)
loss_mistake(
    "a small number added to the probability",
    "The loss can't grow beyond that number's logarithm, and it should be in the thousands: take the logarithm first.",
    table=lambda z: (z.softmax(1) + 1e-9).log(),
)
loss_mistake(
    "logits cut off at a limit",
    "Nothing overflows, but the loss of a sure and wrong answer should be thousands of nats: subtract instead of cutting off.",
    table=lambda z: log_p(z.clamp(-80, 80)),
)
loss_mistake(
    "the largest logit of the whole table",
    "One token's logits lie at 500, another's at -500: with one maximum for all, the lower ones all become exp(-1000) = 0.",
    table=lambda z: (s := z - z.max()) - s.exp().sum(1, keepdim=True).log() if len(z) else z,
)
loss_mistake(
    "the largest logit subtracted in the sum only",
    "The loss is too small by the largest logit: it must be taken from the target's logit, too.",
    table=lambda z: z - (z - z.amax(1, keepdim=True)).exp().sum(1, keepdim=True).log(),
)
loss_mistake(
    "softmax over the tokens",
    "Your probabilities sum to one over the tokens of each id; they should over the ids of each token.",
    table=lambda z: log_p(z.T).T if len(z) else z,
)
loss_mistake(
    "logarithm to the base two",
    "Your loss is in bits, larger by 1/ln 2 than it is in nats.",
    mean=lambda chosen: -chosen.sum() / max(1, len(chosen)) / math.log(2),
)
loss_mistake("the sum, not the mean", "Right for one token. By how many must the sum be divided?", mean=lambda c: -c.sum())
loss_mistake(
    "the sign forgotten",
    "Your loss is below zero. The logarithm of a probability is: what has the loss that this logarithm doesn't?",
    mean=lambda chosen: chosen.sum() / max(1, len(chosen)),
)
loss_mistake(
    "no token counts, and the mean is nan",
    "Right but for this: the mean of nothing is 0/0. What shall be returned then?",
    mean=lambda chosen: -chosen.mean(),
)
loss_mistake(
    "a plain number where no token counts",
    "Right but for this: whoever calls backward on the result needs a tensor, of the dtype of the logits.",
    mean=lambda chosen: -chosen.mean() if len(chosen) else 0.0,
)
loss_mistake(
    "a float32 zero where no token counts",
    "Right but for this: torch.tensor(0.0) is float32 whatever the logits are.",
    mean=lambda chosen: -chosen.mean() if len(chosen) else torch.tensor(0.0),
)
loss_mistake(
    "cut off from the logits",
    "The loss is right, and nothing can learn from it: .item(), detach or no_grad end the way back to the logits.",
    mean=lambda chosen: chosen.new_tensor(-chosen.sum().item() / max(1, len(chosen))),
)
loss_mistake(
    "only -100 is ignored", "ignore is an argument, and -100 its default: which ids count?", select=lambda t, ignore: t != -100
)
loss_mistake(
    "every id of the vocabulary counts",
    "You leave out what is no id; but ignore may be an id. Compare the targets with it.",
    select=lambda t, ignore: (t >= 0) & (t < 50),
)


@masked_cross_entropy.mistake(
    "the mean over all tokens",
    "Right if all tokens count. The losses of the others are zero in the sum, but by how many is it divided?",
)
def _(logits, targets, ignore=-100):
    counted = targets != ignore
    return -at(log_p(logits), targets.where(counted, 0)).where(counted, 0).mean()


@masked_cross_entropy.mistake(
    "the logits erased instead of the losses",
    "A token with logits of zero still has a loss, that of the uniform guess: what should be zero in the sum?",
)
def _(logits, targets, ignore=-100):
    counted = targets != ignore
    return -at(log_p(logits * counted[:, None]), targets.where(counted, 0)).sum() / counted.sum().clamp(min=1)


@masked_cross_entropy.mistake(
    "the logits of all targets for every token",
    "z[:, y] is a table, with all rows and a column for each target. One entry of each row is meant: its own.",
)
def _(logits, targets, ignore=-100):
    counted = targets != ignore
    table = log_p(logits[counted])[:, targets[counted]]
    return -table.sum() / max(1, table.numel())


@masked_cross_entropy.mistake(
    "looked up before the mask",
    "-100 is no column of the logits: drop the tokens that don't count (or give them another target) before you look up.",
)
def _(logits, targets, ignore=-100):
    counted = targets != ignore
    return -(at(log_p(logits), targets) * counted).sum() / counted.sum().clamp(min=1)


@masked_cross_entropy.mistake(
    "the ignored taken for id 0",
    "Another target for the tokens that don't count is a good way to look up safely; but then their losses must go.",
)
def _(logits, targets, ignore=-100):
    return -at(log_p(logits), targets.where(targets != ignore, 0)).mean()


@masked_cross_entropy.mistake("an argument changed in place", "The loss is right. Work on a copy, or drop what doesn't count.")
def _(logits, targets, ignore=-100):
    counted = targets != ignore
    targets[~counted] = 0
    return -(at(log_p(logits), targets) * counted).sum() / counted.sum().clamp(min=1)


@masked_cross_entropy.mistake(
    "ready-made", 'The number is right. Now write it yourself: see the formula of "Without overflow".'
)
def _(logits, targets, ignore=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore) if (targets != ignore).any() else logits.sum() * 0

"""The check of notebook 04 on causality by gradient: leaks."""

import torch
from torch import nn

from helpers.attention import CausalSelfAttention, attention
from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise


def past_mean(x):
    """Return the mean of all places so far: causal."""
    return x.cumsum(1) / torch.arange(1, x.size(1) + 1)[:, None]


def mean_of_all(x):
    """Return the mean of all places, at every place."""
    return x.mean(1, keepdim=True).expand_as(x) * 1.0


def ahead(x, by=1):
    """Return at each place the vector `by` places later, or zeros where there is none."""
    return torch.cat((x[:, by:], torch.zeros_like(x[:, :by])), dim=1)


def one_before(x):
    """Return at each place the vector before it: causal."""
    return torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)


def one_ahead(x):
    """Return at each place the next vector, added to its own; the last place has none."""
    return x + ahead(x)


def two_chances(x):
    """Return at each place two numbers that sum to one, made of the next vector."""
    chance = ahead(x)[..., :1].sigmoid()
    return torch.cat((chance, 1 - chance), dim=-1)


def place_3_in_place_1(x):
    """Return the past's mean; at place 1 the vector of place 3 comes into it."""
    y = past_mean(x).clone()
    y[:, 1] += x[:, 3]
    return y


def a_difference_from_ahead(x):
    """Return the past's mean; all numbers of place 0 get the difference of two numbers of place 3."""
    y = past_mean(x).clone()
    y[:, 0] += x[:, 3, :1] - x[:, 3, 1:2]
    return y


def smallest_number_leaks(x):
    """Return x; the last number of each place, by far the smallest, is made of the last place."""
    return torch.cat((x[..., :-1], x[:, -1:, :1].expand(-1, x.size(1), -1) - 100), dim=-1)


def largest_number_leaks(x):
    """Return x; the last number of each place, by far the largest, is made of the last place."""
    return torch.cat((x[..., :-1], x[:, -1:, :1].expand(-1, x.size(1), -1) + 100), dim=-1)


def a_billionth_from_ahead(x):
    """Return x and a billionth of the place after next."""
    return x + 1e-9 * ahead(x, 2)


def constant(x):
    """Return ones, whatever x is."""
    return torch.ones(1, x.size(1), 3)


def sign_of_the_next(x):
    """Return x plus the signs of the next vector: a jump where a number crosses zero, and no gradient anywhere."""
    return x + ahead(x).sign()


class OwnNumbers(nn.Module):
    """A model that answers with its own parameter, whatever x is."""

    def __init__(self):
        super().__init__()
        self.row = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """Return (1, T, 3)."""
        return self.row.expand(1, x.size(1), 3) * 2


class NoMask(CausalSelfAttention):
    """The attention of notebook 02, its mask forgotten."""

    def forward(self, x, cache=None):
        """Map x: (B, T, C) to (B, T, C)."""
        return self.proj(attention(*self.split_heads(x)).transpose(1, 2).flatten(2))


def layer(kind):
    """Return an attention layer with large weights, always the same."""
    torch.manual_seed(0)
    made = kind(6, 2)
    for p in made.parameters():
        nn.init.normal_(p)
    return made


def functions():
    """Return cases of f and x."""
    x = normal(1, 4, 3, seed=0)
    cases = [(past_mean, x), (mean_of_all, x), (one_ahead, x), (one_before, x), (two_chances, x), (constant, x)]
    cases += [(place_3_in_place_1, x), (a_difference_from_ahead, x), (largest_number_leaks, x), (smallest_number_leaks, x)]
    cases += [
        (a_billionth_from_ahead, x),
        (sign_of_the_next, x),
        (mean_of_all, x[:, :1].clone()),
        (one_ahead, normal(1, 4, 1, seed=1).double()),
    ]
    made = [(f"{x.size(1)} place{'s' * (x.size(1) > 1)}; f returns{f.__doc__.split('.')[0][6:]}", (f, x)) for f, x in cases]
    wide, asked = normal(1, 3, 6, seed=2), normal(1, 5, 2, seed=3).requires_grad_()
    asked.grad = torch.ones_like(asked)
    made += [("f is attention", (layer(CausalSelfAttention), wide)), ("f is attention without a mask", (layer(NoMask), wide))]
    made += [("f is a model that ignores its input", (OwnNumbers(), x))]
    return [*made, ("x has a gradient already", (one_ahead, asked))]


def without_traces(function, f, x):
    """Return the pairs, and what the function left behind in x and in the parameters of f."""
    pairs = function(f, x)
    own = list(f.parameters()) if isinstance(f, nn.Module) else []
    grad = None if x.grad is None else x.grad.clone()
    said = {"pairs": pairs, "x.requires_grad afterwards": x.requires_grad, "x.grad afterwards": grad}
    said["parameters of f that have a gradient afterwards"] = sum(p.grad is not None for p in own)
    return said


def leaks(f, x):
    """The reference: PyTorch's table of all derivatives, (1, T, V, 1, T, C); a pair leaks if one of V · C is not zero."""
    table = torch.autograd.functional.jacobian(f, x.detach().clone())[0, :, :, 0]
    felt = (table != 0).any(3).any(1)  # (T, T)
    return [(t, s) for t in range(len(felt)) for s in range(t + 1, len(felt)) if felt[t, s]]


leaks = Exercise(leaks, functions, run=without_traces)

"""The check of notebook 05, "Exercises": one step of AdamW."""

import torch

from helpers.checks.attention_kernel import normal
from helpers.checks.marker import Exercise


def steps():
    """Return cases of p, g, m, v, step and settings: first and later steps, several shapes, no decay, epsilon, zeros."""
    usual = 0.1, (0.9, 0.99), 1e-8, 0.5  # lr, betas, eps, weight_decay
    by_hand = torch.ones(1), torch.full((1,), 0.5), torch.zeros(1), torch.zeros(1)
    made = [("the first step by hand", (*by_hand, 1, 0.1, (0.9, 0.99), 1e-8, 0.0))]
    for label, shape, step, settings in (
        ("the first step, with decay", (4,), 1, usual),
        ("the second step of a matrix", (2, 3), 2, usual),
        ("step 10", (5,), 10, usual),
        ("step 10,000", (3,), 10_000, usual),
        ("a large epsilon at step 3", (4,), 3, (0.1, (0.9, 0.99), 0.3, 0.0)),
        ("other betas", (2, 2), 4, (0.03, (0.5, 0.8), 1e-8, 0.2)),
        ("no memory: both betas zero", (3,), 5, (0.1, (0.0, 0.0), 1e-8, 0.1)),
        ("a single number", (), 2, usual),
    ):
        p, g, m, v = (normal(*shape, seed=10 * step + i) for i in range(4))
        old = (m, v**2) if step > 1 else (torch.zeros_like(m), torch.zeros_like(v))
        made.append((label, (2 * p, g, *old, step, *settings)))
    label, (p, g, m, v, *rest) = made[1]
    made.append(("gradients of a millionth", (p, g * 1e-6, m, v, *rest)))
    made.append(("a gradient of zero, and nothing before", (p, g * 0, m, v, *rest)))
    made.append(("float64", (p.double(), g.double(), m.double(), v.double(), *rest)))
    return made


def by_name(got, *names):
    """Return the parts of a tuple by their names; TypeError for anything else but None, which has an answer of its own."""
    if got is not None and (not isinstance(got, tuple) or len(got) != len(names)):
        what = f"a {type(got).__name__}" + (f" of {len(got)}" if isinstance(got, tuple | list) else "")
        raise TypeError(f"it should return a tuple of {len(names)} ({', '.join(names)}), and returned {what}")
    return None if got is None else dict(zip(names, got, strict=True))


def moments_first(function, *arguments):
    """Call the function, and name what it returns; the moments, which are made first, are looked at first."""
    got = by_name(function(*arguments), "p", "m", "v")
    return got and {name: got[name] for name in ("m", "v", "p")}


def adamw(p, g, m, v, step, lr, betas, eps, weight_decay):
    """The reference: PyTorch's own, put into the state that is given."""
    p, m, v = p.clone(), m.clone(), v.clone()
    optimizer = torch.optim.AdamW([p], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    p.grad = g.clone()
    optimizer.state[p] = {"step": torch.tensor(step - 1.0), "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    return p, m, v


adamw = Exercise(adamw, steps, run=moments_first, tolerance=1e-5)


def moments(g, m, v, betas):
    """Return the two running means with this gradient in them."""
    return betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g


def corrected(m, v, step, betas):
    """Return the moments, corrected for having begun at zero."""
    return m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)


def plain(m, v, eps):
    """Return the direction of the step, from corrected moments."""
    return m / (v.sqrt() + eps)


def step_mistake(name, nudge, mean=moments, correct=corrected, direction=plain, after=None, returned=None):
    """File a mistake: in the moments, their correction, the direction, what becomes of the weights, or what is returned."""
    returned = returned or (lambda kept, hat, old: kept)
    after = after or (lambda p, d, lr, decay: p * (1 - lr * decay) - lr * d)

    def wrong(p, g, m, v, step, lr, betas, eps, weight_decay):
        kept = mean(g, m, v, betas)
        hat = correct(*kept, step, betas)
        return after(p, direction(*hat, eps), lr, weight_decay), *returned(kept, hat, (m, v))

    adamw.mistake(name, nudge)(wrong)


step_mistake(
    "no correction",
    "Both moments are right, but the first steps aren't: m and v began at zero. By what are they too small at step 1?",
    correct=lambda m, v, step, betas: (m, v),
)
step_mistake(
    "only m corrected",
    "Both moments are right. v began at zero as m did.",
    correct=lambda m, v, step, betas: (m / (1 - betas[0] ** step), v),
)
step_mistake(
    "only v corrected",
    "Both moments are right. m began at zero as v did.",
    correct=lambda m, v, step, betas: (m, v / (1 - betas[1] ** step)),
)
step_mistake(
    "steps counted from zero",
    "At step 1 a correction with β to the power 0 divides by nothing: here the first step is 1, not 0.",
    correct=lambda m, v, step, betas: corrected(m, v, step - 1, betas),
)
step_mistake(
    "steps counted one too far",
    "step is 1 at the first step already: nothing is to be added in the correction.",
    correct=lambda m, v, step, betas: corrected(m, v, step + 1, betas),
)
step_mistake(
    "β times the step",
    "Both moments are right. After t steps the share of the zero at the start is β to the power t: what do you compute?",
    correct=lambda m, v, step, betas: (m / (1 - betas[0] * step), v / (1 - betas[1] * step)),
)
step_mistake(
    "epsilon inside the root",
    "Right while epsilon is tiny against v. It is added to the root, not to what the root is taken of.",
    direction=lambda m, v, eps: m / (v + eps).sqrt(),
)
step_mistake(
    "no epsilon",
    "A weight that never had a gradient has v = 0, and 0/0 is nan: what prevents it?",
    direction=lambda m, v, eps: m / v.sqrt(),
)
step_mistake(
    "no root",
    "v is a mean of squares: to be of the size of the gradient it needs a root.",
    direction=lambda m, v, eps: m / (v + eps),
)
step_mistake(
    "betas exchanged",
    "Already the moments are wrong: which of the two betas is that of m, and which that of v?",
    mean=lambda g, m, v, betas: moments(g, m, v, betas[::-1]),
    correct=lambda m, v, step, betas: corrected(m, v, step, betas[::-1]),
)
step_mistake(
    "β is the share of the new",
    "β says how much of the old mean stays. In yours nearly everything is the newest gradient.",
    mean=lambda g, m, v, betas: moments(g, m, v, (1 - betas[0], 1 - betas[1])),
)
step_mistake(
    "the gradient added whole",
    "A mean needs shares that sum to one: by what is the gradient (and its square) multiplied?",
    mean=lambda g, m, v, betas: (betas[0] * m + g, betas[1] * v + g * g),
)
step_mistake(
    "v of the gradient, not of its square",
    "m is right. v is the mean of the squares.",
    mean=lambda g, m, v, betas: (moments(g, m, v, betas)[0], betas[1] * v + (1 - betas[1]) * g),
)
step_mistake(
    "decay not times the rate",
    "Both moments are right. By which factor does PyTorch shrink the weights at each step? The learning rate is in it.",
    after=lambda p, d, lr, decay: p * (1 - decay) - lr * d,
)
step_mistake(
    "no decay",
    "Both moments are right, and the weights too where weight_decay is zero.",
    after=lambda p, d, lr, decay: p - lr * d,
)
step_mistake(
    "decay after the step",
    "Very close: what decays, the weight that came in or the one after the step? See the order in the section.",
    after=lambda p, d, lr, decay: (p - lr * d) * (1 - lr * decay),
)
step_mistake(
    "uphill", "Both moments are right, and the weights walk towards a higher loss.",
    after=lambda p, d, lr, decay: p * (1 - lr * decay) + lr * d,
)  # fmt: skip
step_mistake(
    "the old moments returned",
    "p is right. The next step needs the moments with this gradient in them.",
    returned=lambda kept, hat, old: old,
)
step_mistake(
    "the corrected moments returned",
    "p is right. The correction is for this step only: the next one starts from the moments without it.",
    returned=lambda kept, hat, old: hat,
)


@adamw.mistake(
    "decay through the gradient",
    "This is the older Adam: the decay has got into the moments. What does the W stand for?",
)
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = moments(g + weight_decay * p, m, v, betas)
    return p - lr * plain(*corrected(m, v, step, betas), eps), m, v


@adamw.mistake("p returned last", "All three are right, in another order: p, m, v.")
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = moments(g, m, v, betas)
    return m, v, p * (1 - lr * weight_decay) - lr * plain(*corrected(m, v, step, betas), eps)


@adamw.mistake(
    "decay in the direction", "The moments are right. The decay is apart from the step: it isn't divided by anything."
)
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = moments(g, m, v, betas)
    m_hat, v_hat = corrected(m, v, step, betas)
    return p - lr * plain(m_hat + weight_decay * p, v_hat, eps), m, v


@adamw.mistake(
    "epsilon added before the correction", "Right while epsilon is tiny. It comes to the root of the corrected v, last of all."
)
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = moments(g, m, v, betas)
    root = (v.sqrt() + eps) / (1 - betas[1] ** step) ** 0.5
    return p * (1 - lr * weight_decay) - lr * m / (1 - betas[0] ** step) / root, m, v


@adamw.mistake(
    "a step with the old moments",
    "The moments returned are right, but p was moved by those that came in, without this gradient.",
)
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    d = plain(*corrected(m, v, step, betas), eps)
    return p * (1 - lr * weight_decay) - lr * d, *moments(g, m, v, betas)


@adamw.mistake(
    "changed in place", "All three are right. In section 5.4 the step changes its tensors; here the text wants new ones."
)
def _(p, g, m, v, step, lr, betas, eps, weight_decay):
    m.mul_(betas[0]).add_((1 - betas[0]) * g)
    v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
    m_hat, v_hat = corrected(m, v, step, betas)
    return p.mul_(1 - lr * weight_decay).sub_(lr * plain(m_hat, v_hat, eps)), m, v

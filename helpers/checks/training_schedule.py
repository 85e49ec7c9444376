"""The check of notebook 05, "Exercises": a schedule that climbs, stays, and falls."""

import math

from helpers.checks.marker import Exercise


def runs():
    """Return cases of steps and a schedule: all steps of short runs, with and without each part, some of a long one."""
    made = [
        ("all ten steps of the example", (range(10), 1.0, 2, 4, 10)),
        ("no warm-up", (range(8), 0.5, 0, 3, 8)),
        ("no decay", (range(7), 2.0, 3, 0, 7)),
        ("neither warm-up nor decay", (range(5), 3e-4, 0, 0, 5)),
        ("the decay follows the warm-up at once", (range(8), 1.0, 3, 5, 8)),
        ("a warm-up and a decay of one step each", (range(4), 1.0, 1, 1, 4)),
        ("decay from the first step to the last", (range(6), 1.0, 0, 6, 6)),
        ("warm-up from the first step to the last", (range(4), 1.0, 4, 0, 4)),
        ("one step", (range(1), 0.1, 0, 1, 1)),
        ("the joints of a long run", ([0, 199, 200, 201, 59_999, 80_000, 80_001, 99_999], 1.5e-3, 200, 20_000, 100_000)),
    ]
    return made


def at_each(function, steps, *schedule):
    """Return the rate of each of the steps."""
    return {f"step {step}": function(step, *schedule) for step in steps}


def warmup_stable_decay(step, lr, warmup, decay, total):
    """The reference: the three parts, one after the other."""
    if step < warmup:
        return lr * (step + 1) / warmup
    if step < total - decay:
        return lr
    return lr * (total - step) / decay


warmup_stable_decay = Exercise(warmup_stable_decay, runs, run=at_each)


def climb(step, lr, warmup):
    """Return the rate of a step of the warm-up."""
    return lr * (step + 1) / warmup


def fall(step, lr, decay, total):
    """Return the rate of a step of the decay."""
    return lr * (total - step) / decay


def schedule_mistake(name, nudge, up=climb, down=fall, start=lambda warmup, decay, total: total - decay):
    """File a mistake in the climb, in the fall, or in the step at which the fall begins."""

    def wrong(step, lr, warmup, decay, total):
        if step < warmup:
            return up(step, lr, warmup)
        return lr if step < start(warmup, decay, total) else down(step, lr, decay, total)

    warmup_stable_decay.mistake(name, nudge)(wrong)


schedule_mistake(
    "a rate of zero at the first step",
    "Step 0 would learn nothing. In the example it has half of the peak: which step is the first of the climb?",
    up=lambda step, lr, warmup: lr * step / warmup,
)
schedule_mistake(
    "from zero to the peak within the climb",
    "The climb reaches the peak in time, but starts from zero: step 0 has lr / warmup.",
    up=lambda step, lr, warmup: lr * step / (warmup - 1),
)
schedule_mistake(
    "the peak reached a step late",
    "Step warmup - 1 should have the full rate: into how many equal parts do you cut the climb?",
    up=lambda step, lr, warmup: lr * (step + 1) / (warmup + 1),
)
schedule_mistake(
    "the fall begins a step late",
    "Step total - decay is the last at the peak, and your last step has twice the rate that it should have.",
    down=lambda step, lr, decay, total: min(lr, lr * (total - step + 1) / decay),
)
schedule_mistake(
    "the fall begins a step early",
    "Step total - decay should still have the full rate, and the last step more than zero.",
    down=lambda step, lr, decay, total: lr * (total - 1 - step) / decay,
)
schedule_mistake(
    "already below the peak where the fall begins",
    "Step total - decay should still have the full rate: into how many equal parts do you cut the fall?",
    down=lambda step, lr, decay, total: lr * (total - step) / (decay + 1),
)
schedule_mistake(
    "zero at the last step",
    "The last step would learn nothing. It is step total, the one after the last, that would have zero.",
    down=lambda step, lr, decay, total: lr * (total - 1 - step) / (decay - 1),
)
schedule_mistake(
    "two parts lost at once in the fall",
    "From step total - decay to the next the rate falls by two parts, and the last step has zero: is this step left, too?",
    start=lambda warmup, decay, total: total - decay + 1,
    down=lambda step, lr, decay, total: lr * (total - step - 1) / decay,
)
schedule_mistake(
    "divided by the length of the run",
    "At the first step of the fall your rate jumps: how many steps does the fall have?",
    down=lambda step, lr, decay, total: lr * (total - step) / total,
)
schedule_mistake(
    "the fall upside down",
    "The rate drops to nothing at step total - decay and then climbs: count the steps that remain, not those that have gone.",
    down=lambda step, lr, decay, total: lr * (step - (total - decay)) / decay,
)
schedule_mistake(
    "a cosine",
    "Both ends of the fall are right, its middle isn't: this one goes down in a straight line.",
    down=lambda step, lr, decay, total: lr * (1 + math.cos(math.pi * (step - total + decay) / decay)) / 2,
)
schedule_mistake(
    "no fall at all",
    "Up to step total - decay all is right. And then?",
    down=lambda step, lr, decay, total: lr,
)
schedule_mistake(
    "the fall begins after decay steps",
    "decay is the length of the fall, not the step at which it begins: count it from the end of the run.",
    start=lambda warmup, decay, total: decay,
    down=lambda step, lr, decay, total: lr * (total - step) / (total - decay),
)


@warmup_stable_decay.mistake(
    "the fall directly after the climb",
    "Between climb and fall the rate stays at the peak: how many steps before the end does the fall begin?",
)
def _(step, lr, warmup, decay, total):
    return climb(step, lr, warmup) if step < warmup else fall(step, lr, total - warmup, total)


@warmup_stable_decay.mistake(
    "the climb is a step too long", "Step warmup is above the peak: it belongs to the next part. Is it < or <= ?"
)
def _(step, lr, warmup, decay, total):
    if step <= warmup:
        return climb(step, lr, warmup)
    return lr if step < total - decay else fall(step, lr, decay, total)


@warmup_stable_decay.mistake("a share of the peak", "The shape is right. Multiply by something that you were given.")
def _(step, lr, warmup, decay, total):
    return warmup_stable_decay.reference(step, 1.0, warmup, decay, total)


@warmup_stable_decay.mistake(
    "a length of zero divides",
    "Right, as long as both parts have steps. To take the smallest of three lines, you divide by both.",
)
def _(step, lr, warmup, decay, total):
    return lr * min(1.0, (step + 1) / warmup, (total - step) / decay)

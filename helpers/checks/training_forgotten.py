"""The known mistakes in the resumed run of notebook 05, "Exercises": what is forgotten, shared, or seeded wrongly."""

import copy

import torch

from helpers.checks.training_resume import train_some


def seed_of_step(step, n, state):
    """Seed the dropout of a step by its number."""
    torch.default_generator.manual_seed(step)


def resume_mistake(
    name, nudge, *, load=True, moments=True, count=True, mode=True, zero=True, lr=1e-3, keep=copy.deepcopy, read=copy.deepcopy,
    seed=seed_of_step, begin=None, end=None, upto=lambda first, n: first + n,
):  # fmt: skip
    """File a mistake in what is saved, what is loaded, how a step is done, or where the random numbers come from."""

    def wrong(make_model, get_batch, n, state=None):
        if begin:
            begin(state)
        model, first = make_model(), 0
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        if state is not None:
            if load:
                model.load_state_dict(state["model"])
            if moments:
                optimizer.load_state_dict(read(state["optimizer"]))
            first = state["step"] if count else 0
        model.train(mode)
        for step in range(first, upto(first, n)):
            seed(step, n, state)
            if zero:
                optimizer.zero_grad()
            model(*get_batch(step)).backward()
            optimizer.step()
        made = {"model": keep(model.state_dict()), "optimizer": copy.deepcopy(optimizer.state_dict()), "step": first + n}
        return made | (end() if end else {})

    train_some.mistake(name, nudge)(wrong)


def no_seed(step, n, state):
    """Leave the generator as it is."""


def seed_or_restore(state):
    """Seed the generator at the beginning of a run, and restore it when it goes on."""
    if state is None:
        torch.default_generator.manual_seed(0)
    else:
        torch.set_rng_state(state["random"])


def random_state():
    """Return the state of the generator, for the state of the run."""
    return {"random": torch.get_rng_state()}


resume_mistake(
    "the weights not loaded", "Going on begins with the weights of a new model: what becomes of state['model']?", load=False
)
resume_mistake(
    "the optimiser's state not loaded",
    "Right in one call. After resuming, a new AdamW takes its first step, with moments of zero: what has it forgotten?",
    moments=False,
)
resume_mistake(
    "steps counted from zero again",
    "Going on, you train on the first batches once more. Which number must the state hold?",
    count=False,
)
resume_mistake(
    "n taken for the last step",
    "n is how many steps this call does; you stop at step number n, and a later call does too few.",
    upto=lambda first, n: n,
)
resume_mistake(
    "the model in evaluation mode", "In evaluation mode dropout drops nothing: see what modes the model was in.", mode=False
)
resume_mistake(
    "gradients added up over the steps",
    "From the second step on, .grad holds older gradients, too: which line is missing?",
    zero=False,
)
resume_mistake(
    "another learning rate", "lr=1e-3 is asked for, also after resuming; AdamW's default happens to be the same.", lr=1e-2
)
resume_mistake(
    "the weights shared with the model",
    "state_dict() doesn't copy: its tensors are those of the model. Copy them (copy.deepcopy, or .clone() for each).",
    keep=lambda weights: weights,
)
resume_mistake(
    "the optimiser works in the memory of the state",
    "Going on for the second time ends elsewhere: load_state_dict of an optimiser takes over the tensors that it is given.",
    read=lambda moments: moments,
)
resume_mistake(
    "dropout without a seed",
    "What is dropped depends on what others have drawn before: seed the generator yourself.",
    seed=no_seed,
)
resume_mistake(
    "seeded at the beginning only",
    "One call is right. Going on, dropout depends on what others have drawn in between: random numbers have a state, too.",
    seed=lambda step, n, state: torch.default_generator.manual_seed(0) if step == 0 else None,
)
resume_mistake(
    "seeded anew in every call",
    "Going on, dropout begins with the same masks as at the start. The seed must depend on where the run is.",
    begin=lambda state: torch.default_generator.manual_seed(0),
    seed=no_seed,
)
resume_mistake(
    "one seed for all steps",
    "Every step drops the same numbers, so that half of the embedding is never trained. What differs from step to step?",
    seed=lambda step, n, state: torch.default_generator.manual_seed(0),
)
resume_mistake(
    "the random state restored before the model is made",
    "The random state is saved, but make_model draws random numbers too, for the weights that it replaces: restore it later.",
    begin=seed_or_restore,
    seed=no_seed,
    end=random_state,
)
resume_mistake(
    "nothing copied",
    "The state holds the tensors of the model, and going on changes the moments in it: which state_dicts need a copy?",
    keep=lambda weights: weights,
    read=lambda moments: moments,
)
resume_mistake(
    "the weights alone",
    "A start, but a step depends on more: on the moments of AdamW, and on what dropout draws. And state_dict() doesn't copy.",
    moments=False,
    keep=lambda weights: weights,
    seed=no_seed,
)


@train_some.mistake(
    "the number of the last step saved",
    "The next call begins with the step that was done last. And which number is saved if there was no step at all?",
)
def _(make_model, get_batch, n, state=None):
    model, first = make_model(), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        first = state["step"]
    for step in range(first, first + n):
        seed_of_step(step, n, state)
        optimizer.zero_grad()
        model(*get_batch(step)).backward()
        optimizer.step()
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})


@train_some.mistake(
    "the given state written on",
    "What you return is right, but it is the dict that you were given, changed: who goes on from it again finds another.",
)
def _(make_model, get_batch, n, state=None):
    state = state if state is not None else {}
    state.update(train_some.reference(make_model, get_batch, n, state or None))
    return state

"""The marker: runs a student's function beside the reference, and says what is wrong.

Notebook 00, "Exercises, hints and checks".
"""

import copy
import inspect
import os
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from helpers.checks.compare import described, difference

NOT_ATTEMPTED, NOT_YET, CORRECT = "not attempted yet", "not yet", "correct"


class NotMet(AssertionError):
    """Raised for an exercise that isn't solved, where the environment variable COURSE_STRICT is 1."""


@dataclass(frozen=True)
class Verdict:
    """What a check answers: the state, the sentences that were printed, and the name of the known mistake, if it is one."""

    state: str
    message: str
    mistake: str = ""

    def _ipython_display_(self):
        """Show nothing: the check has printed the message."""


@dataclass(frozen=True)
class Mistake:
    """A wrong solution that people write: its name, what to think about, and the code."""

    name: str
    nudge: str
    function: Callable


@dataclass(frozen=True)
class Outcome:
    """What a function did on one case: it returned a value, or it raised an error; and the arguments as it left them."""

    value: object = None
    error: BaseException | None = None
    after: tuple = ()


@dataclass
class Exercise:
    """One exercise; called with the student's function, it prints and returns a `Verdict`.

    reference: a correct solution. cases: returns a list of (label, arguments), random ones and edge cases, always the same.
    run(function, *arguments) returns what is compared: by default, what the function returns. changes: whether the function
    is meant to change its arguments. tolerance: for floats, relative and absolute.
    """

    reference: Callable
    cases: Callable
    run: Callable = lambda function, *arguments: function(*arguments)
    changes: bool = False
    tolerance: float = 1e-4
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def name(self):
        """The name of the function that the student writes."""
        return self.reference.__name__

    def mistake(self, name, nudge):
        """Return a decorator that files a wrong solution under its name, with a nudge: what to look at, not the solution."""
        return lambda function: self.mistakes.append(Mistake(name, nudge, function)) or function

    @cached_property
    def drawn(self):
        """The cases, and what the reference does on each."""
        return [(label, arguments, self.outcome(self.reference, arguments)) for label, arguments in self.cases()]

    @cached_property
    def mistaken(self):
        """What each known mistake does on each case; its warnings are not the student's."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [[self.outcome(mistake.function, arguments) for _, arguments, _ in self.drawn] for mistake in self.mistakes]

    def outcome(self, function, arguments):
        """Run a function on copies of the arguments, with the random numbers of seed 0, the notebook's left alone."""
        arguments = copy.deepcopy(arguments)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return Outcome(self.run(function, *arguments), after=arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a student's code may raise anything, SystemExit too
            return Outcome(error=error, after=arguments)

    def __call__(self, attempt):
        """Check a student's function; raise `NotMet` instead of going on where COURSE_STRICT=1 and it isn't correct."""
        verdict = self.judge(attempt)
        print(verdict.message)
        if verdict.state != CORRECT and os.environ.get("COURSE_STRICT") == "1":
            raise NotMet(verdict.message)
        return verdict

    def judge(self, attempt):
        """Return the verdict on a student's function."""
        if problem := self.call_problem(attempt):
            return Verdict(NOT_YET, f"{self.name}: {NOT_YET}. {problem}")
        outcomes = []
        for number, (label, arguments, wanted) in enumerate(self.drawn, start=1):
            outcomes.append(got := self.outcome(attempt, arguments))
            if number == 1 and isinstance(got.error, NotImplementedError):
                return Verdict(NOT_ATTEMPTED, f"{self.name}: {NOT_ATTEMPTED}.")
            if fault := self.fault(attempt, arguments, got, wanted):
                outcomes += [self.outcome(attempt, case[1]) for case in self.drawn[number:]]
                mistake = self.diagnose(outcomes)
                title = f"{self.name}: {NOT_YET}. Case {number} of {len(self.drawn)} ({label}):"
                lines = [title, f"  {self.name}({self.described(arguments)})", f"  {fault}"]
                lines += [f"  Known mistake: {mistake.name}. {mistake.nudge}"] if mistake else []
                return Verdict(NOT_YET, "\n".join(lines), mistake.name if mistake else "")
        return Verdict(CORRECT, f"{self.name}: {CORRECT}, in all {len(self.drawn)} cases.")

    def call_problem(self, attempt):
        """Return what is wrong with an attempt that cannot even be called as the stub can, or None."""
        if not callable(attempt):
            return f"Give the check the function itself, without calling it: checks.{self.name}({self.name})."
        try:
            parameters = inspect.signature(attempt)
        except (TypeError, ValueError):
            return None  # some built-in functions have no signature: they are tried as they are
        try:
            parameters.bind(*inspect.signature(self.reference).parameters)
        except TypeError as error:
            return f"It cannot be called with the arguments of the stub, {inspect.signature(self.reference)}: {error}."
        return None

    def fault(self, attempt, arguments, got, wanted):
        """Return a sentence on what is wrong with an outcome, or None."""
        if wanted.error is not None:
            return wrong_error(got, wanted.error)
        if got.error is not None:
            return stopped(attempt, got.error)
        wrong = difference(got.value, wanted.value, self.tolerance)
        changed = None if self.changes else self.changed(arguments, got.after)
        return " ".join(filter(None, (wrong, changed))) or None

    def changed(self, before, after):
        """Return a sentence if an argument is no longer what it was, or None."""
        names = inspect.signature(self.reference).parameters
        for name, old, new in zip(names, before, after, strict=False):
            if difference(new, old, 0.0):
                return f"The argument {name} was changed in place; it belongs to the caller: work on a copy."
        return None

    def described(self, arguments):
        """Return the arguments of a case as the student would write or describe them."""
        names = inspect.signature(self.reference).parameters
        return ", ".join(f"{name}={described(value)}" for name, value in zip(names, arguments, strict=False))

    def diagnose(self, outcomes):
        """Return the known mistake that did the same in every case, else the only one that did wherever both gave a value."""
        partly = []
        for mistake, theirs in zip(self.mistakes, self.mistaken, strict=True):
            pairs = list(zip(outcomes, theirs, strict=True))
            if all(self.alike(ours, other) for ours, other in pairs):
                return mistake
            both = [i for i, (ours, other) in enumerate(pairs) if ours.error is None and other.error is None]
            telling = [i for i in both if not self.alike(theirs[i], self.drawn[i][2])]
            if telling and all(self.alike(*pairs[i]) for i in both):
                partly.append(mistake)
        return partly[0] if len(partly) == 1 else None

    def alike(self, one, other):
        """Return whether two outcomes are the same: equal values, or errors of one type."""
        if one.error is not None or other.error is not None:
            return type(one.error) is type(other.error)
        return difference(one.value, other.value, self.tolerance) is None


def stopped(attempt, error):
    """Return a sentence on an error inside the student's code, with the line where it happened."""
    file = getattr(getattr(attempt, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f' in its line "{frames[-1].line}"' if frames and frames[-1].line else ""
    what = f"{type(error).__name__}: {error}".strip().removesuffix(":").splitlines()[0]
    return f"stopped{where} with {what if what[-1] in '.?!' else what + '.'}"


def wrong_error(got, wanted):
    """Return a sentence if something other than the wanted error happened, or None."""
    if got.error is None:
        return f"should raise {type(wanted).__name__}, and returned {described(got.value)}."
    if not isinstance(got.error, type(wanted)):
        return f"should raise {type(wanted).__name__}, and raised {type(got.error).__name__}: {got.error}."
    return None if str(got.error) else f"raised {type(wanted).__name__} without a sentence: say what is wrong."

"""Small changes to a solution, which no check may call correct: in its source, and in what it returns."""

import ast
import copy
import dataclasses
import random
import sys

import numpy as np
import torch

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.MatMult: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def changed(node):
    """Yield (field, index, replacement) for each small change to one node of a syntax tree."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        yield "op", None, SWAPS[type(node.op)]()
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            if type(op) in SWAPS:
                yield "ops", i, SWAPS[type(op)]()
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield "value", None, not node.value if isinstance(node.value, bool) else node.value + 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "op", None, ast.UAdd()
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        if isinstance(block, list) and not isinstance(node, ast.Module):
            for i, statement in enumerate(block):
                if not isinstance(statement, ast.Expr | ast.Return | ast.FunctionDef | ast.Import | ast.Raise):
                    yield name, i, ast.Pass()


def mutants(source):
    """Yield (what was changed, source) for each small change to a solution's source, its docstrings left alone."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for name, i, replacement in changed(node):
            mutant = copy.deepcopy(tree)
            place = next(n for k, n in enumerate(ast.walk(mutant)) if k == number)
            if i is None:
                setattr(place, name, replacement)
            else:
                getattr(place, name)[i] = replacement
            dropped = isinstance(replacement, ast.Pass)
            old = ast.unparse(getattr(node, name)[i] if dropped else node)
            yield f"{old} -> {'' if dropped else ast.unparse(place)}", ast.unparse(ast.fix_missing_locations(mutant))


def limited(function, lines=300_000):
    """Return the function, stopped with a TimeoutError after so many executed lines: a mutant may never end."""

    def wrapped(*arguments, **named):
        left = lines

        def trace(frame, event, _):
            nonlocal left
            left -= event == "line"
            if left < 0:
                raise TimeoutError("too many lines executed")
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            return function(*arguments, **named)
        finally:
            sys.settrace(before)

    return wrapped


def perturbed(value, rng, tolerance):
    """Return the value with one thing in it changed by more than the tolerance allows."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return perturbed_tensor(value, rng, tolerance)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, value * 2 + 1, str(value), None])
    if isinstance(value, str | bytes):
        return rng.choice([value + value[:1] + type(value)(b" " if isinstance(value, bytes) else " "), None])
    if isinstance(value, tuple | list) and value:
        parts, i = list(value), rng.randrange(len(value))
        if rng.random() < 0.7:
            parts[i] = perturbed(parts[i], rng, tolerance)
        else:
            del parts[i]
        return type(value)(parts)
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return {**value, key: perturbed(value[key], rng, tolerance)}
    return "something else"


def perturbed_tensor(value, rng, tolerance):
    """Return a copy of a tensor or array with one number, its shape, or its dtype changed."""
    if isinstance(value, np.ndarray):
        return perturbed_tensor(torch.from_numpy(value.copy()), rng, tolerance).numpy()
    kind = rng.choice(["number", "number", "shape", "dtype"]) if value.numel() else "shape"
    if kind == "shape":
        return value[None]
    if kind == "dtype":
        return value.to(torch.float64 if value.dtype != torch.float64 else torch.float32)
    new = value.detach().clone().reshape(-1)
    i = rng.randrange(len(new))
    if new.dtype == torch.bool:
        new[i] = ~new[i]
    elif new.dtype.is_floating_point:
        off = new[i] + 10 * tolerance * (1 + new[i].abs())
        new[i] = rng.choice([off, float("nan")]) if new[i].isfinite() else 1.0
    else:
        new[i] += 1
    return new.reshape(value.shape)


def twin(exercise, case, change):
    """Return a copy of an exercise in which what the attempt returns in one case is changed first."""
    calls = iter(range(10**9))
    other = dataclasses.replace(exercise, mistakes=[])
    other.__dict__["drawn"] = exercise.drawn

    def run(function, *arguments):
        value = exercise.run(function, *arguments)
        return change(value) if next(calls) == case else value

    other.run = run
    return other


def random_change(seed, tolerance):
    """Return a function that changes a value, at random by the seed."""
    return lambda value: perturbed(value, random.Random(seed), tolerance)

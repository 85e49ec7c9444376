"""What differs between the value that a student's function returned and the one wanted: in one sentence, or nothing."""

import math
import re

import numpy as np
import torch
from torch import nn

WRONG_KIND = "should return {}, and returned {}."


def described(value, limit=160):
    """Return a value in few words: small ones in full, tensors by dtype and shape, with their numbers if they are few."""
    if isinstance(value, torch.Tensor):
        kind, numbers = str(value.dtype).removeprefix("torch."), ""
        if value.numel() <= 8 and value.device.type != "meta":
            numbers = " " + re.sub(r"-?\d+\.\d{5,}(e[+-]\d+)?", lambda m: f"{float(m[0]):.4g}", str(value.tolist()))
        text = f"a {kind} tensor of shape {tuple(value.shape)}{numbers}"
    elif isinstance(value, np.ndarray):
        text = f"a NumPy array of {value.dtype} of shape {value.shape}"
    elif isinstance(value, tuple | list) and any(isinstance(part, torch.Tensor) for part in value):
        text = f"a {type(value).__name__} of " + ", ".join(described(part) for part in value)
    elif isinstance(value, nn.Module):
        text = f"<{type(value).__name__}>"
    elif isinstance(value, set | frozenset) and value:
        text = "{" + ", ".join(sorted(map(repr, value))) + "}"  # the same in every process
    elif callable(value):
        text = f"<function {getattr(value, '__name__', '')}>"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def difference(got, wanted, tolerance):
    """Return a sentence that says how a value differs from the one wanted, or None; floats may be off by the tolerance."""
    if got is None and wanted is not None:
        return f"returned None: is there a return? It should return {described(wanted)}."
    if isinstance(wanted, torch.Tensor):
        return tensor_difference(got, wanted, tolerance)
    if isinstance(wanted, np.ndarray):
        if not isinstance(got, np.ndarray) or got.dtype != wanted.dtype:
            return WRONG_KIND.format(described(wanted), described(got))
        return tensor_difference(torch.from_numpy(np.array(got)), torch.from_numpy(np.array(wanted)), tolerance)
    if isinstance(wanted, float):
        return float_difference(got, wanted, tolerance)
    if type(got) is not type(wanted):
        return WRONG_KIND.format(f"{described(wanted)} ({type(wanted).__name__})", f"{described(got)} ({type(got).__name__})")
    if isinstance(wanted, tuple | list):
        return sequence_difference(got, wanted, tolerance)
    if isinstance(wanted, dict):
        return dict_difference(got, wanted, tolerance)
    if isinstance(wanted, nn.Module):
        return dict_difference(got.state_dict(), wanted.state_dict(), tolerance)
    comparable = isinstance(wanted, bool | int | str | bytes | set | frozenset)
    return WRONG_KIND.format(described(wanted), described(got)) if comparable and got != wanted else None


def tensor_difference(got, wanted, tolerance):
    """Return a sentence on the first of these that is wrong: kind, shape, dtype, device, NaN, values; or None."""
    if not isinstance(got, torch.Tensor):
        return WRONG_KIND.format(described(wanted), f"{described(got)} ({type(got).__name__})")
    if got.shape != wanted.shape:
        return f"should return shape {tuple(wanted.shape)}, and returned shape {tuple(got.shape)}."
    if got.dtype != wanted.dtype:
        return f"should return {wanted.dtype}, and returned {got.dtype}: is a number or a tensor of another type mixed in?"
    if got.device != wanted.device:
        return f"should return a tensor on {wanted.device}, like its arguments; this one is on {got.device}."
    got, wanted = got.detach(), wanted.detach()
    for what, cause in (
        ("nan", "0/0, ∞ − ∞, or a row with nothing in it?"),
        ("inf", "a division by 0, or exp of a large number?"),
    ):
        if (bad := getattr(torch, "is" + what)(got) & ~getattr(torch, "is" + what)(wanted)).any():
            return f"has {what.upper()} in {int(bad.sum())} of {bad.numel()} places: {cause}"
    if got.dtype.is_floating_point or got.dtype.is_complex:
        wrong = ~torch.isclose(got, wanted, rtol=tolerance, atol=tolerance * scale(wanted), equal_nan=True)
    else:
        wrong = got != wanted
    if not wrong.any():
        return None
    if got.numel() <= 8:
        return WRONG_KIND.format(described(wanted), described(got))
    at = tuple(wrong.nonzero()[0].tolist())
    places = f"{int(wrong.sum())} of {wrong.numel()} places"
    return f"is wrong in {places}, first at {list(at)}: {got[at]:.5g} instead of {wanted[at]:.5g}."


def scale(wanted):
    """Return the size of the numbers in a tensor, at most 1, to which an absolute tolerance is relative."""
    finite = wanted[wanted.isfinite()]
    return min(1.0, finite.abs().max().item()) if len(finite) else 1.0


def float_difference(got, wanted, tolerance):
    """Return a sentence if a number isn't a Python number or is too far from the one wanted, or None."""
    if isinstance(got, torch.Tensor | np.generic):
        return f"should return a Python float, and returned {described(got)}: .item() makes one."
    if isinstance(got, bool) or not isinstance(got, int | float):
        return WRONG_KIND.format(f"a float, {wanted:.6g}", f"{described(got)} ({type(got).__name__})")
    near = got == wanted or math.isclose(got, wanted, rel_tol=tolerance, abs_tol=1e-9) or (got != got and wanted != wanted)
    return None if near else WRONG_KIND.format(f"{wanted:.6g}", f"{got:.6g}")


def sequence_difference(got, wanted, tolerance):
    """Return a sentence on the first part of a tuple or list that differs, or None."""
    if len(got) != len(wanted):
        return f"should return {len(wanted)} things, {described(wanted)}, and returned {len(got)}, {described(got)}."
    for i, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
        if sentence := difference(ours, theirs, tolerance):
            whole = "" if len(described(wanted)) > 100 or "tensor" in described(wanted) else f" Wanted: {described(wanted)}."
            return f"[{i}] {sentence}{whole}"
    return None


def dict_difference(got, wanted, tolerance):
    """Return a sentence on the keys or the first value of a dictionary that differ, or None."""
    if missing := [key for key in wanted if key not in got]:
        return f"lacks {described(missing)}."
    if extra := [key for key in got if key not in wanted]:
        return f"has {described(extra)}, which nobody asked for."
    for key, value in wanted.items():
        if sentence := difference(got[key], value, tolerance):
            return f"[{key!r}] {sentence}"
    return None

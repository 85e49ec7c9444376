"""The check of notebook 04 on sinusoidal positions: wave_positions."""

import math

import torch

from helpers.checks.marker import Exercise


def tables():
    """Return cases of T and C: usual ones, one place, two columns, more places than columns, a square."""
    sizes = [(4, 6), (1, 8), (9, 2), (6, 6), (12, 32), (100, 16), (3, 50), (1, 2)]
    return [(f"{T} place{'s' * (T > 1)}, {C} columns", (T, C)) for T, C in sizes]


def wave_positions(T, C):
    """The reference: number by number, as the two formulas say."""
    table = torch.zeros(T, C)
    for t in range(T):
        for i in range(C // 2):
            angle = t / 10000 ** (2 * i / C)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


wave_positions = Exercise(wave_positions, tables, tolerance=3e-4)


def angles(T, exponents, start=0):
    """Return the angles (T, number of exponents): place over 10000 to the exponent."""
    return torch.arange(start, start + T, dtype=torch.float32)[:, None] / 10000**exponents


def alternating(sines, cosines):
    """Return sines in the even columns and cosines in the odd ones."""
    return torch.stack((sines, cosines), dim=-1).flatten(1)


def pairs(C):
    """Return the exponents 2i/C, for i = 0, …, C/2 - 1."""
    return torch.arange(0, C, 2) / C


@wave_positions.mistake(
    "sine and cosine exchanged", "At place 0 every angle is 0. Which columns of row 0 should be 0, which 1?"
)
def _(T, C):
    a = angles(T, pairs(C))
    return alternating(a.cos(), a.sin())


@wave_positions.mistake(
    "sines in the left half, cosines in the right",
    "Right for two columns. In the formula sine and cosine of the same i stand side by side: look at the column numbers.",
)
def _(T, C):
    a = angles(T, pairs(C))
    return torch.cat((a.sin(), a.cos()), dim=1)


@wave_positions.mistake(
    "exponent i/C", "Your waves become slower too late: in the last pair the exponent should be nearly 1. What is it in yours?"
)
def _(T, C):
    a = angles(T, torch.arange(C // 2) / C)
    return alternating(a.sin(), a.cos())


@wave_positions.mistake(
    "the column number taken for i",
    "The waves become slower twice as fast as they should: i counts pairs, and the columns are 2i and 2i + 1.",
)
def _(T, C):
    a = angles(T, 2 * torch.arange(C) / C)
    return torch.where(torch.arange(C) % 2 == 0, a.sin(), a.cos())


@wave_positions.mistake(
    "a wavelength of its own for each column",
    "The sines are right, the cosines a little too slow: the two columns of a pair have the same angle.",
)
def _(T, C):
    a = angles(T, torch.arange(C) / C)
    return torch.where(torch.arange(C) % 2 == 0, a.sin(), a.cos())


@wave_positions.mistake(
    "exponent 4i/C", "The last pair should have an exponent of nearly 1; yours is nearly 2. Where was a 2 taken in twice?"
)
def _(T, C):
    a = angles(T, torch.arange(C // 2) * 4 / C)
    return alternating(a.sin(), a.cos())


@wave_positions.mistake(
    "exponents from 0 to 1, both included",
    "With C/2 pairs the last exponent is 2(C/2 - 1)/C, a step below 1: what is the step?",
)
def _(T, C):
    a = angles(T, torch.linspace(0, 1, C // 2))
    return alternating(a.sin(), a.cos())


@wave_positions.mistake(
    "places counted from 1", "Row 0 belongs to place 0, where all angles are 0. Where do your places begin?"
)
def _(T, C):
    a = angles(T, pairs(C), start=1)
    return alternating(a.sin(), a.cos())


@wave_positions.mistake(
    "angles multiplied instead of divided", "The first pair is right; the later ones should turn more slowly, and turn faster."
)
def _(T, C):
    a = angles(T, -pairs(C))
    return alternating(a.sin(), a.cos())


@wave_positions.mistake("sines only", "The even columns are right. What do the odd ones hold?")
def _(T, C):
    a = angles(T, pairs(C))
    return alternating(a.sin(), a.sin())


@wave_positions.mistake(
    "10000 multiplied by the exponent", "The formula has a power of 10000, not a product. What is each of them for i = 0?"
)
def _(T, C):
    a = torch.arange(T)[:, None] / (10000 * pairs(C))
    return alternating(a.sin(), a.cos())


@wave_positions.mistake("columns for places", "Rows are places, columns the numbers of a vector; yours lie the other way.")
def _(T, C):
    return wave_positions.reference(T, C).T.contiguous()

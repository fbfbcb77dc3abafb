"""What is wanted of a design: bounds that it has to keep to, and the front of the best."""

import argparse
import operator
import re
from dataclasses import dataclass

import numpy as np

from . import accuracy
from .evaluate import AREA, ESTIMATED

NUMBERS = (*ESTIMATED, *AREA, "sram_kib", *accuracy.COLUMNS)
"""Columns that can be bounded and compared."""

MORE_IS_BETTER = frozenset({"fps", "array_busy", "array_utilisation", *accuracy.COLUMNS})
"""Those of which more is better; of the others less is."""

_RELATIONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound of a column, like ``fps>=10``."""

    name: str
    relation: str
    limit: float

    def __str__(self) -> str:
        return f"{self.name}{self.relation}{self.limit:g}"

    def met(self, row: dict) -> bool:
        """Whether a row has a number there that keeps to it."""
        value = row[self.name]
        return value is not None and _RELATIONS[self.relation](value, self.limit)


def column(text: str) -> str:
    """Argument type: a column with numbers."""
    if text not in NUMBERS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(NUMBERS)}, not {text!r}")
    return text


def constraint(text: str) -> Constraint:
    """Argument type: a :class:`Constraint`."""
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"must be a column, one of {', '.join(_RELATIONS)}, and a number, not {text!r}")
    return Constraint(column(match[1]), match[2], float(match[3]))


def front(rows: list[dict], objectives: list[str]) -> list[int]:
    """Return the indexes of the rows that no other one is better than in every respect.

    Parameters
    ----------
    rows
        Those that count; the others are not in it.
    objectives
        Columns; what is better, :data:`MORE_IS_BETTER` says. Rows without a number are left out.

    Returns
    -------
    list of int
        In order. Of rows that are equal in all objectives, all.
    """
    known = [index for index, row in enumerate(rows)
             if all(row[name] is not None for name in objectives)]
    costs = np.array([[-rows[index][name] if name in MORE_IS_BETTER else rows[index][name]
                       for name in objectives] for index in known], float)
    best = []
    for index, own in zip(known, costs, strict=True):
        worse = (costs <= own).all(1) & (costs < own).any(1)
        if not worse.any():
            best.append(index)
    return best

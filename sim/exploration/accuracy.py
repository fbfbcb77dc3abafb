"""The accuracy of a design: that of its precision and its kind of scales, as it was measured.

What ``python -m sim.accuracy --json`` has printed is taken. Of the methods that give a kind of
scales in integers (:data:`METHODS`), the best counts.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ..cli import UserError

METHODS = {
    "static": ("mse", "lsq", "lsq-all", "minmax", "percentile"),
    "predicted": ("predictor", "predictor-all", "ridge"),
    "jit": ("jit-minmax", "jit-percentile"),
}
"""Methods of :mod:`sim.evaluation.methods` that give each kind of scales."""

COLUMNS = ("top1", "agreement")
"""Columns with numbers, in per cent, None where nothing was measured."""


@dataclass(frozen=True)
class Accuracy:
    """Measured accuracies.

    Attributes
    ----------
    best
        By precision and kind of scales: the method, and :data:`COLUMNS`.
    """

    best: dict[tuple[str, str], dict]

    def of(self, row: dict) -> dict:
        """Return the row of a design with its ``method`` and :data:`COLUMNS`."""
        return row | self.best.get((row["bits"], row["scales"]), _NONE)


_NONE = {"method": "", **dict.fromkeys(COLUMNS)}
UNKNOWN = Accuracy({})
"""Nothing was measured."""


def read_accuracy(path: Path, model: str) -> Accuracy:
    """Return what a file has of a model.

    Raises
    ------
    UserError
        If it cannot be read, is nothing that ``sim.accuracy --json`` prints, or is of another
        model.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON") from None
    best: dict[tuple[str, str], dict] = {}
    try:
        named = document.get("model", model)
        for row in document["rows"]:
            kind = next((kind for kind, names in METHODS.items() if row["method"] in names), None)
            if kind is None or not row["integer"]:
                continue
            found = {"method": row["method"], **{name: row[name] for name in COLUMNS}}
            key = row["bits"], kind
            if key not in best or _measure(found) > _measure(best[key]):
                best[key] = found
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} must be what sim.accuracy --json prints ({error!r})") from None
    if named != model:
        raise UserError(f"{path} is of {named}, not of {model}")
    return Accuracy(best)


def _measure(found: dict) -> tuple[float, float]:
    """Return what methods are compared by: labels first, where there are any."""
    return found["top1"] or 0.0, found["agreement"] or 0.0

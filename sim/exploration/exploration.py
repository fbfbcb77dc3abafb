"""The result of an exploration: its designs, and what was wanted of them."""

from dataclasses import dataclass

from . import explore_report
from .choices import Constraint
from .evaluate import Setting


@dataclass(frozen=True)
class Exploration:
    """Designs that were explored.

    Attributes
    ----------
    setting
        What they have in common.
    rows
        A dictionary for each: the fields of :class:`sim.exploration.grid.Design`, ``clock_mhz``,
        ``tech``, ``fits`` and ``reason``; :data:`~.evaluate.ESTIMATED` (cycles; frames per second;
        mJ, shares 0..1, bytes, KiB) and :data:`~.evaluate.AREA` (of an ECP5), None where a design
        has none; ``method`` and :data:`~.accuracy.COLUMNS`; :data:`~.explore_report.MARKS`.
    constraints, objectives
        Bounds, and the columns that the front is of.
    searched
        Size of the grid that a search was made in; None if all of it is here.
    """

    setting: Setting
    rows: tuple[dict, ...]
    constraints: tuple[Constraint, ...]
    objectives: tuple[str, ...]
    searched: int | None = None

    @classmethod
    def of(cls, setting: Setting, rows: list[dict], constraints: list[Constraint],
           objectives: list[str], searched: int | None = None) -> "Exploration":
        """Return the exploration of rows without marks; these are added."""
        return cls(setting, tuple(explore_report.marked(rows, constraints, objectives)),
                   tuple(constraints), tuple(objectives), searched)

    @property
    def front(self) -> list[dict]:
        """Rows that no other one is better than, most frames per second first."""
        return sorted((row for row in self.rows if row["front"]), key=lambda row: -row["fps"])

    def as_dict(self, command: str = "") -> dict:
        """Return all of it as JSON values; `command` is what has made it."""
        return explore_report.as_dict(self.setting, list(self.rows), list(self.constraints),
                                      list(self.objectives), command) | {"searched": self.searched}

    def to_pandas(self):
        """Return the rows as a :class:`pandas.DataFrame`; what a design has not is missing.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        import pandas

        return pandas.DataFrame(list(self.rows)).convert_dtypes()

"""A search of a grid in place of all of it: designs are proposed by optuna, from what others cost.

The sampler is the tree of Parzen estimators for several objectives (TPE), with a seed. What it
proposes follows from the seed and from the results alone, and results are kept
(:mod:`sim.exploration.kept`), so a search that was interrupted and is begun again proposes the same
designs, takes those that are done from the file, and goes on.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, fields

from ..cli import UserError
from . import evaluate
from .choices import MORE_IS_BETTER, Constraint
from .evaluate import Setting
from .grid import Design
from .kept import Kept

SEED = 1
"""Of a search, unless told otherwise."""

_UNKNOWN = 1e30  # cost of what a design has no number for; it breaks a constraint besides


def search(setting: Setting, designs: list[Design], kept: Kept, count: int, *,
           constraints: list[Constraint], objectives: list[str], seed: int = SEED,
           finish: Callable[[dict], dict] = dict,
           progress: Callable[[int], None] = lambda done: None) -> list[dict]:
    """Return the rows of the designs that a search has tried.

    Parameters
    ----------
    setting, kept
        As :func:`sim.exploration.run.run` takes them.
    designs
        The grid.
    count
        Designs to be tried, each once; all of the grid where it has no more. Where the sampler
        proposes one again, the next is drawn by chance from those that are left.
    constraints, objectives
        What is wanted. A design that does not fit, or breaks a constraint, is tried and told as
        such.
    seed
        Of the sampler, 0 or more.
    finish
        Makes a row whole: columns that constraints and objectives may name and the evaluation does
        not give.
    progress
        Called with the number of designs tried.

    Raises
    ------
    UserError
        If optuna is missing.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("--search needs optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    axes = _axes(designs)
    left = dict.fromkeys(designs)
    chance = random.Random(seed)
    space = {name: optuna.distributions.CategoricalDistribution(values)
             for name, values in axes.items()}
    study = optuna.create_study(
        directions=["maximize" if name in MORE_IS_BETTER else "minimize" for name in objectives],
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, count // 4)))
    rows: dict[Design, dict] = {}
    count = min(count, len(left))
    while len(rows) < count:
        trial = study.ask(space)
        design = Design(**{name: trial.params[name] for name in axes})
        if design in rows:
            study.enqueue_trial(asdict(chance.choice(list(left))))
        else:
            del left[design]
            rows[design] = finish(_row(setting, design, kept))
            progress(len(rows))
        row = rows[design]
        broken = [not row["fits"], *(not one.met(row) for one in constraints)]
        trial.set_constraint("broken", float(sum(broken)))
        study.tell(trial, [_cost(row, name) for name in objectives])
    return list(rows.values())


def _axes(designs: list[Design]) -> dict[str, list]:
    """Return the values of each field, in the order of the grid."""
    return {field.name: list(dict.fromkeys(getattr(one, field.name) for one in designs))
            for field in fields(Design)}


def _row(setting: Setting, design: Design, kept: Kept) -> dict:
    if kept.get(design) is None:
        kept.add([design], evaluate.evaluate(setting, [design]))
    return kept.get(design)


def _cost(row: dict, name: str) -> float:
    if row[name] is not None:
        return float(row[name])
    return -_UNKNOWN if name in MORE_IS_BETTER else _UNKNOWN

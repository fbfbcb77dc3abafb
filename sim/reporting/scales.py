"""How scales of sites spread over images, out of the JSON that sim.accuracy writes."""

import math

from ..exploration.accuracy import METHODS

_FIRST = ("static", "predicted")
"""Kinds of scales of which one method is shown at first, besides the oracle."""


def scales_of(document: dict, source: str) -> list[dict]:
    """Return what is shown of a comparison: a dictionary of JSON values for each precision.

    Those are ``name``, ``source``, the number of ``images``, ``percentiles``, the names of
    ``sites``, that of the ``oracle``, ``methods`` with their names, titles and the ``spread`` of
    each site, and in ``shown`` the indexes of those that are shown at first.

    Parameters
    ----------
    source
        Where it comes from.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing, or not what it should be.
    """
    sites = [str(name) for name in document["sites"]]
    found: dict[str, list[dict]] = {}
    for row in document["rows"]:
        if row["spread"]:
            found.setdefault(row["bits"], []).append({
                "method": str(row["method"]), "title": str(row["title"]),
                "spread": [_numbers(site) for site in _as_many(row["spread"], sites)]})
    if not found:
        raise ValueError("no method has scales of integers")
    oracle, (low, middle, high) = str(document["oracle"]), map(float, document["percentiles"])
    return [{"name": f"{document['model']} {bits}", "source": source,
             "images": int(document["images"]["count"]), "percentiles": [low, middle, high],
             "sites": sites, "oracle": oracle, "methods": methods,
             "shown": _shown([one["method"] for one in methods], oracle)}
            for bits, methods in found.items()]


def _as_many(spread: list, sites: list) -> list:
    if len(spread) != len(sites):
        raise ValueError(f"{len(spread)} scales of {len(sites)} sites")
    return spread


def _numbers(site: dict) -> list[float]:
    numbers = [float(site[name]) for name in ("low", "middle", "high")]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"scales must be finite, not {numbers}")
    return numbers


def _shown(names: list[str], oracle: str) -> list[int]:
    """Return the indexes of the first method of each kind of :data:`_FIRST`, and the oracle's."""
    firsts = [next((name for name in names if name in METHODS[kind]), None) for kind in _FIRST]
    return [number for number, name in enumerate(names) if name in {*firsts, oracle}] or [0]

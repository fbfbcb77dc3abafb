"""Makes what is compared: quantizes by every method and keeps the results, ready to run, in files.

A file holds a line of JSON (:class:`Prepared`, and a digest of the whole) and a pickled
:class:`~sim.evaluation.contender.Contender`, which is read behind a right digest only. Its name
says what it depends on, so that it is made once, and anew when anything changes.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from golden.network.precision import AnyPrecision

from ..cli import UserError, one_line, whole_file
from ..common.code_digest import digest
from ..prediction import scale_costs
from ..prediction.scale_costs import Cost
from ..ptq import pipeline
from ..ptq.recipes import RECIPES
from ..ptq.tap import Tap
from .contender import Contender, Emulated, Integer
from .float_reference import FloatReference
from .loss_oracle import LossOracle
from .methods import METHODS, Bench

FP32 = "fp32"

BASELINES = {"lsq": "mse", "predictor": "lsq", "shuffled": "lsq", "qpp": "lsq",
             "lsq-all": "mse", "predictor-all": "lsq-all", "shuffled-all": "lsq-all", "mse": None}
"""The static method that each is held against: the same training but for what is predicted."""

_OTHERS = "mse"  # what those are held against that are not in BASELINES


@dataclass(frozen=True)
class Candidate:
    """A method that can be compared.

    Attributes
    ----------
    title, source
        For tables; where it was published.
    baseline
        Name of the method that it is held against.
    make
        From a bench and a precision to a contender.
    module
        Where it is defined.
    """

    name: str
    title: str
    source: str
    baseline: str | None
    make: Callable[[Bench, AnyPrecision], Contender]
    module: str


def candidates() -> dict[str, Candidate]:
    """Return all methods by name: ours, then those of other authors."""
    ours = [Candidate(one.name, one.title, one.source, BASELINES.get(one.name, _OTHERS), one.make,
                      "sim.evaluation.methods") for one in METHODS.values()]
    theirs = [Candidate(one.name, one.title, one.source, _OTHERS, _recipe(one), one.make.__module__)
              for one in RECIPES.values()]
    return {one.name: one for one in (*ours, *theirs)}


def _recipe(recipe) -> Callable[[Bench, AnyPrecision], Contender]:
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        chosen = pipeline.spread(len(bench.pixels), recipe.images)
        images = torch.from_numpy(bench.pixels[chosen])
        return Emulated(recipe.make(bench.source, precision, images, bench.progress))
    return make


@dataclass(frozen=True)
class Prepared:
    """A contender in a file.

    Attributes
    ----------
    method, bits
        Which it is; ``fp32`` for the float model, in both.
    integer
        Whether everything is an integer from pixels to logits.
    predicted
        Indexes of the sites whose scales are chosen image by image.
    cost
        Of its scales; None where hardware is not defined.
    modules
        What it needs to run.
    path, sha256
        The file.
    """

    method: str
    bits: str
    integer: bool
    predicted: tuple[int, ...]
    cost: Cost | None
    modules: tuple[str, ...]
    path: Path
    sha256: str


def open_contender(path: Path, sha256: str) -> Contender:
    """Read the contender of a file.

    Raises
    ------
    UserError
        If the file cannot be read, or is not the one that is meant.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; all workers need the work "
                        "folder") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} was changed meanwhile; start again")
    return pickle.loads(data.partition(b"\n")[2])


def content_digest(about: dict, pickled: bytes) -> str:
    """Return the digest that stands in a file's line of JSON, of the rest of it and the pickle."""
    line = json.dumps(about, sort_keys=True).encode()
    return hashlib.sha256(line + b"\n" + pickled).hexdigest()


def _read(path: Path) -> Prepared | None:
    """Return what a file says about itself; None if there is none, or it is damaged."""
    try:
        data = path.read_bytes()
        line, _, pickled = data.partition(b"\n")
        about = json.loads(line)
        if about.pop("sha256") != content_digest(about, pickled):
            return None
        contender = pickle.loads(pickled)  # classes may be others by now
        # what made it may be as it was while what says its cost is not
        cost = (about["cost"] and Cost(**about["cost"])
                if about["cost_code"] == digest(scale_costs.__name__) else _cost(contender))
        return Prepared(_typed(about, "method", str), _typed(about, "bits", str),
                        _typed(about, "integer", bool), _tuple(about, "predicted", int), cost,
                        _tuple(about, "modules", str), path, hashlib.sha256(data).hexdigest())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, EOFError,
            RuntimeError, pickle.UnpicklingError):
        return None


def _typed(about: dict, name: str, kind: type):
    if type(about[name]) is not kind:
        raise TypeError(f"{name} must be a {kind.__name__}, not {about[name]!r}")
    return about[name]


def _tuple(about: dict, name: str, kind: type) -> tuple:
    values = _typed(about, name, list)
    return tuple(_typed({name: value}, name, kind) for value in values)


def _write(path: Path, method: str, bits: str, contender: Contender) -> Prepared:
    cost = _cost(contender)
    about = {"method": method, "bits": bits, "integer": contender.integer,
             "predicted": _predicted(contender), "cost": cost and asdict(cost),
             "cost_code": digest(scale_costs.__name__), "modules": _modules(contender)}
    pickled = pickle.dumps(contender, protocol=5)
    about["sha256"] = content_digest(about, pickled)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(about).encode() + b"\n" + pickled)
    return _read(path)


def _predicted(contender: Contender) -> list[int]:
    if isinstance(contender, Emulated):
        return []
    if isinstance(contender, LossOracle) or contender.rule is not None:
        return list(range(contender.network.shape.sites))
    return sorted({int(site) for tap in contender.network.taps for site in tap.sites})


def _cost(contender: Contender) -> Cost | None:
    if isinstance(contender, LossOracle):
        return None  # no hardware knows the float network's answer
    if isinstance(contender, Integer):
        if contender.rule is not None:
            return scale_costs.just_in_time(contender.network, contender.rule)
        return scale_costs.predicted(contender.network)
    taps = [part for part in contender.module.modules() if isinstance(part, Tap)]
    parameters = sum(tap.mean.numel() + tap.gain.numel() + tap.coefficients.numel()
                     + tap.projected * (tap.projection.numel() + tap.bias.numel()) for tap in taps)
    return Cost(parameters, None, None) if taps else None


def _modules(contender: Contender) -> list[str]:
    used = {type(contender).__module__}
    for value in vars(contender).values():
        if isinstance(value, torch.nn.Module):
            used |= {type(part).__module__ for part in value.modules()}
    return sorted(name for name in used if name.partition(".")[0] in {"golden", "sim"})


def reference(floating, run: dict, folder: Path) -> Prepared:
    """Prepare the float model.

    Parameters
    ----------
    floating
        A :class:`sim.inputs.float_model.FloatModel`.
    run
        What identifies it, see :class:`~sim.evaluation.methods.Bench`.
    folder
        Where to keep it.
    """
    path = _path(folder, FP32, FP32, {"run": run, "code": digest("sim.evaluation.float_reference")})
    module = FloatReference(floating.model, floating.preprocessing)
    return _read(path) or _write(path, FP32, FP32, Emulated(module))


def prepare(bench: Bench, methods: list[Candidate], precisions: list[AnyPrecision], folder: Path,
            note: Callable[[str], None] = lambda text: None) -> Iterator[Prepared]:
    """Quantize by each method to each precision, or take what is there already.

    Parameters
    ----------
    bench
        What the methods start from.
    folder
        Where to keep the results.
    note
        Called with what is made next.

    Raises
    ------
    UserError
        If a method cannot do a precision.
    """
    for precision in precisions:
        for method in methods:
            path = _path(folder, method.name, str(precision), _key(bench, method))
            found = _read(path)
            if found is None:
                note(f"{method.name} {precision}")
                try:
                    contender = method.make(bench, precision)
                except ValueError as error:
                    raise UserError(f"{method.name} cannot quantize to {precision}: "
                                    f"{one_line(error)}") from error
                found = _write(path, method.name, str(precision), contender)
            yield found


def _key(bench: Bench, method: Candidate) -> dict:
    key = {"run": bench.run, "code": digest(method.module)}
    if method.name in METHODS:
        key |= {name: repr(getattr(bench, name)) for name in ("options", "scales", "everything",
                                                          "iterations")}
    return key


def _path(folder: Path, method: str, bits: str, key: dict) -> Path:
    whole = json.dumps(key | {"method": method, "bits": bits}, sort_keys=True)
    name = "_".join(dict.fromkeys((bits, method)))
    return folder / f"{name}_{hashlib.sha256(whole.encode()).hexdigest()[:16]}.contender"

"""A quantized model as one file: safetensors, everything but the arrays in one JSON object.

Tensors are the integer arrays of a :class:`golden.network.network.Network`, named by their place in
it, like ``blocks.3.fc1.weight`` or ``taps.0.predictor.coefficients.1``, in the types they have
there. The JSON object, under the key ``vernier`` of the file's metadata, has:

* ``format`` and ``version``: what file this is.
* ``network``: the fields of the network that are no arrays; where there is one, its name. Widths
  that differ from block to block are text (:func:`golden.network.precision.parse`).
* ``about``: whatever else is known about the model. Used here are ``model``, the name of the
  float model; ``preprocessing``, what :func:`sim.inputs.model_lookup.preprocessing_for` takes; and
  ``classes``, the names of the classes.
* ``sha256``: of all of the above and the arrays.
"""

import hashlib
import json
import operator
import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from golden.network import vit
from golden.network.network import Network
from golden.network.precision import AnyPrecision, Mixed, Precision, parse

from ..cli import UserError, one_line, whole_file

FORMAT = "vernier-quantized-model"
VERSION = 1
_KEY = "vernier"


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A quantized network, and what is known about it.

    Attributes
    ----------
    network
        The integers.
    metadata
        JSON values by name, see above; tuples become lists.

    Raises
    ------
    TypeError, ValueError
        If `metadata` has something that JSON has not, or the class names are not one for each
        class.
    """

    network: Network
    metadata: dict

    def __post_init__(self):
        plain = json.loads(json.dumps(self.metadata, allow_nan=False, sort_keys=True))
        if not isinstance(plain, dict):
            raise TypeError(f"metadata must be a dictionary, not {self.metadata!r}")
        object.__setattr__(self, "metadata", plain)
        names, count = plain.get("classes"), self.network.shape.classes
        if names is not None and not (isinstance(names, list) and len(names) == count
                                      and all(isinstance(name, str) for name in names)):
            raise ValueError(f"classes must be the names of the {count} classes")
        if not isinstance(plain.get("model", ""), str):
            raise TypeError(f"model must be a name, not {plain['model']!r}")

    @property
    def name(self) -> str | None:
        """Name of the float model, if known."""
        return self.metadata.get("model")

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, if known."""
        names = self.metadata.get("classes")
        return None if names is None else tuple(names)


def save(model: QuantizedModel, path: Path | str) -> None:
    """Write a model, or nothing at all; the same bytes for the same model."""
    data = stored(model)
    with whole_file(Path(path)) as temporary:
        temporary.write_bytes(data)


def stored(model: QuantizedModel) -> bytes:
    """Return what the file of a model holds."""
    arrays = {}
    network = _take_apart(Network, model.network, "", arrays)
    return content({"format": FORMAT, "version": VERSION, "network": network,
                    "about": model.metadata}, arrays)


def content(about: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Return what a file holds, its digest included."""
    about = about | {"sha256": _digest(about, arrays)}
    return safetensors.numpy.save(arrays, {_KEY: json.dumps(about, sort_keys=True)})


def load(path: Path | str) -> QuantizedModel:
    """Read a model.

    Raises
    ------
    UserError
        If the file cannot be read, is no quantized model or one of another version, is damaged,
        or has numbers that the network does not allow.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    about = _about(data)
    if about is None or about.get("format") != FORMAT:
        raise UserError(f"{path} is not a quantized model, or is damaged; "
                        "python -m sim.calibrate makes one")
    version = about.get("version")
    if version != VERSION:
        raise UserError(f"{path} has version {version} of the format, and this program reads "
                        f"version {VERSION}; calibrate the model again with "
                        "python -m sim.calibrate")
    try:
        arrays = safetensors.numpy.load(data)
        if about.pop("sha256") != _digest(about, arrays):
            raise ValueError("its checksum is wrong")
        network = _put_together(Network, about["network"], "", arrays)
        if arrays:
            raise ValueError(f"a network has no {min(arrays)}")
        for tap in network.taps:  # the range unit and the scale unit check their own numbers
            watched = network.shape.behind(tap.after)
            vit.predict(np.zeros((1, watched.tokens, watched.dim), np.int16), tap)
        return QuantizedModel(network, about["about"])
    except KeyError as error:
        raise UserError(f"{path} is damaged: {error} is missing, or of a type unknown") from None
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError,
            OverflowError) as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from None


def _about(data: bytes) -> dict | None:
    """Return the JSON object of a file; None if there is none."""
    try:
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"][_KEY])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return about if isinstance(about, dict) else None


def _digest(about: dict, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _children(kind, name: str) -> dict[str, tuple[object, str]]:
    """Return the type and the full name of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    before = f"{name}." if name else ""
    return {field.name: (hints[field.name], before + field.name) for field in fields(kind)}


def _element(kind):
    """Return what a ``tuple[X, ...]`` consists of; None for another type."""
    if typing.get_origin(kind) is tuple:
        element, *rest = typing.get_args(kind)
        if rest == [Ellipsis]:
            return element
    return None


def _optional(kind):
    """Return X of ``X | None``; None for another type."""
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        parts = set(typing.get_args(kind))
        if len(parts) == 2 and type(None) in parts:
            return (parts - {type(None)}).pop()
    return None


_MAY_LACK = {"coarse", "prefix", "classified", "norm_pre", "epsilon_pre", "window", "merges",
             "places", "colours", "q_norm", "k_norm", "fc_norm", "rel_pos_bias",
             "activation"}
"""What a network, its sizes and a block may do without, and files of older versions do: it has the
value that it has by default."""


def _take_apart(kind, value, name: str, arrays: dict[str, np.ndarray]):
    """Return a value of a declared type as JSON; its arrays go into `arrays`."""
    if _optional(kind) is not None:
        return None if value is None else _take_apart(_optional(kind), value, name, arrays)
    if _element(kind) is not None:
        return [_take_apart(_element(kind), part, f"{name}.{index}", arrays)
                for index, part in enumerate(value)]
    if kind is np.ndarray:
        array = np.ascontiguousarray(value)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} must be an integer array, not {array.dtype}")
        arrays[name] = array
        return name
    if kind == AnyPrecision:
        return (str(value) if isinstance(value, Mixed)
                else _take_apart(Precision, value, name, arrays))
    if is_dataclass(kind):
        usual = {field.name: field.default for field in fields(kind) if field.name in _MAY_LACK}
        return {key: _take_apart(part, getattr(value, key), full, arrays)
                for key, (part, full) in _children(kind, name).items()
                if key not in usual or not np.array_equal(getattr(value, key), usual[key])}
    if kind in (int, bool):
        return kind(operator.index(value))
    if kind is str:
        return value
    raise TypeError(f"{name} is a {kind}, which a file has no form for")


def _put_together(kind, tree, name: str, arrays: dict[str, np.ndarray]):
    """Return the value that :func:`_take_apart` took apart; its arrays leave `arrays`."""
    if _optional(kind) is not None:
        return None if tree is None else _put_together(_optional(kind), tree, name, arrays)
    if _element(kind) is not None:
        if not isinstance(tree, list):
            raise TypeError(f"{name} must be a list, not {tree!r}")
        return tuple(_put_together(_element(kind), part, f"{name}.{index}", arrays)
                     for index, part in enumerate(tree))
    if kind is np.ndarray:
        array = arrays.pop(name)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} must be an integer array, not {array.dtype}")
        return array
    if kind == AnyPrecision:
        return parse(tree) if isinstance(tree, str) else _dataclass(Precision, tree, name, arrays)
    if is_dataclass(kind):
        return _dataclass(kind, tree, name, arrays)
    if type(tree) is not kind:
        what = {int: "an integer", str: "a name"}.get(kind, "true or false")
        raise TypeError(f"{name} must be {what}, not {tree!r}")
    return tree


def _dataclass(kind, tree, name: str, arrays: dict[str, np.ndarray]):
    children, what = _children(kind, name), name or "the network"
    if not isinstance(tree, dict):
        raise TypeError(f"{what} must be an object, not {tree!r}")
    children = {key: child for key, child in children.items()
                if key in tree or key not in _MAY_LACK}
    for odd in sorted(tree.keys() ^ children.keys()):
        raise ValueError(f"{what} {'lacks' if odd in children else 'has no'} {odd}")
    return kind(**{key: _put_together(part, tree[key], full, arrays)
                   for key, (part, full) in children.items()})

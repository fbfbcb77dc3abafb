"""Mutations of bytes, of JSON values, of arrays and of instructions, drawn from a generator.

Every mutation takes a ``numpy.random.Generator`` first, so that a seed gives the same one again,
and leaves what it is given as it was.
"""

import copy
import json
from dataclasses import replace
from functools import cache

import numpy as np

from golden.core import isa
from golden.core.isa import INSTRUCTION_BYTES, Instruction
from golden.core.program import Program

INTEGERS = (0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 256, 4095, 65535, 65536, 2**31 - 1, 2**31, 2**32,
            2**53, 2**63 - 1, 2**63, 2**64, 2**70, 10**40, -(2**15), -(2**31), -(2**63), -(2**70))
"""Integers next to where something overflows."""

_RAW = ('{"a": 1, "a": 2}', "[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900,
        "NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "9" * 4200)
"""JSON texts that no Python value gives."""

_VALUES = (None, True, False, 0.5, 1.0, "", "0", "wide", "\x1b[2J\r\n", "\ud800", [], {}, [[]],
           [None], {"": None}, [0] * 5, "x" * 5000)

_HOLE = "vernier-fuzz-hole"
_MOST = 1 << 12  # bytes that a mutation moves


def pick(draw: np.random.Generator, values):
    """Return one of some values."""
    return values[int(draw.integers(len(values)))]


def interesting(draw: np.random.Generator, value: int) -> int:
    """Return another integer: a neighbour, a bit flipped, or one of :data:`INTEGERS`."""
    return int(pick(draw, (value + 1, value - 1, -value, 2 * value, value // 2,
                           value ^ 1 << int(draw.integers(20)), pick(draw, INTEGERS))))


# Bytes.

def mutated_bytes(draw: np.random.Generator, data: bytes) -> bytes:
    """Return bytes with one to three places changed; half of them near the beginning."""
    for _ in range(int(draw.integers(1, 4))):
        data = _one_place(draw, data)
    return data


def _one_place(draw, data: bytes) -> bytes:
    size = len(data)
    if not size:
        return draw.bytes(int(draw.integers(1, 40)))
    at = int(draw.integers(min(size, 512) if draw.random() < 0.5 else size))
    length = int(draw.integers(1, min(_MOST, size) + 1)) if draw.random() < 0.3 else int(
        draw.integers(1, 9))
    kind = int(draw.integers(8))
    if kind == 0:  # a bit
        return data[:at] + bytes([data[at] ^ 1 << int(draw.integers(8))]) + data[at + 1:]
    if kind == 1:  # some bytes inserted
        return data[:at] + draw.bytes(length) + data[at:]
    if kind == 2:  # some missing
        return data[:at] + data[at + length:]
    if kind == 3:  # some twice
        return data[:at + length] + data[at:]
    if kind == 4:  # cut short
        return data[:at]
    if kind == 5:  # some from elsewhere
        other = int(draw.integers(size))
        return data[:at] + data[other:other + length] + data[at + length:]
    if kind == 6:  # an integer of 1, 2, 4 or 8 bytes
        width = pick(draw, (1, 2, 4, 8))
        value = pick(draw, INTEGERS) % (1 << 8 * width)
        return data[:at] + value.to_bytes(width, "little") + data[at + width:]
    return data[:at] + pick(draw, (b"\0", b"\xff")) * length + data[at + length:]


# JSON.

def _places(tree, path=()) -> list[tuple]:
    """Return the path of each value of a tree, its own being the empty one."""
    children = (tree.items() if isinstance(tree, dict)
                else enumerate(tree) if isinstance(tree, list) else ())
    return [path, *(place for key, value in children for place in _places(value, (*path, key)))]


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def mutated_tree(draw: np.random.Generator, tree):
    """Return a JSON value with one place changed: a type, a number, a key, a neighbour's value."""
    tree = copy.deepcopy(tree)
    places = _places(tree)
    # every depth is as likely as another: long lists are not all there is
    depth = pick(draw, sorted({len(place) for place in places}))
    path = pick(draw, [place for place in places if len(place) == depth])
    value = _at(tree, path)
    if not path:
        return _changed_inside(draw, value) if draw.random() < 0.8 else pick(draw, _VALUES)
    parent, key = _at(tree, path[:-1]), path[-1]
    kind = int(draw.integers(6))
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[pick(draw, (f"{key}_", key.upper(), "", "\x1b]0;x\x07"))] = parent.pop(key)
    elif kind == 2:
        parent[key] = copy.deepcopy(_at(tree, pick(draw, places)))
    elif kind == 3:
        parent[key] = pick(draw, _VALUES)
    else:
        parent[key] = _changed_inside(draw, value)
    return tree


def _changed_inside(draw, value):
    if isinstance(value, bool) or value is None:
        return pick(draw, (not value, 1, "x"))
    if isinstance(value, int):
        return interesting(draw, value)
    if isinstance(value, float):
        return pick(draw, (-value, 0.0, 1e308, 5e-324, float("nan"), float("inf"), int(value)))
    if isinstance(value, str):
        return pick(draw, (value + "\x1b[31m", value[:-1], value[::-1], value + "\n", "x"))
    if isinstance(value, list):
        return pick(draw, (value[:-1], value + value[:1], value[::-1], [value], value * 40))
    extra = pick(draw, (None, 1, [], {}))
    return pick(draw, (value | {"extra": extra}, [value], dict(list(value.items())[1:])))


def mutated_json(draw: np.random.Generator, tree) -> str:
    """Return the text of a JSON value with one place changed, which need not be JSON any more."""
    kind = draw.random()
    if kind < 0.7:
        return json.dumps(mutated_tree(draw, tree))
    if kind < 0.9:
        path = pick(draw, _places(tree))
        holed = copy.deepcopy(tree)
        if path:
            _at(holed, path[:-1])[path[-1]] = _HOLE
        else:
            holed = _HOLE
        return json.dumps(holed).replace(f'"{_HOLE}"', pick(draw, _RAW), 1)
    return mutated_bytes(draw, json.dumps(tree).encode()).decode("latin-1")


# Arrays.

def mutated_arrays(draw: np.random.Generator, arrays: dict[str, np.ndarray]) -> dict:
    """Return arrays by name with one changed: values, type, shape or name."""
    arrays = dict(arrays)
    name = pick(draw, sorted(arrays))
    array, kind = arrays[name], int(draw.integers(8))
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name + pick(draw, ("_", ".0", "\x1b[2J"))] = arrays.pop(name)
    elif kind == 2:
        arrays[name] = array.astype(pick(draw, (np.int8, np.uint8, np.int16, np.uint16, np.int32,
                                                np.int64, np.uint64, np.float32, np.bool_)))
    elif kind == 3:
        arrays[name] = pick(draw, (array[:-1], array[:0], array[None], array.reshape(-1),
                                   np.concatenate((array, array)), array.T.copy()))
    elif kind == 4:
        arrays[name] = arrays[pick(draw, sorted(arrays))]
    else:
        arrays[name] = _other_values(draw, array)
    return arrays


def _other_values(draw, array: np.ndarray) -> np.ndarray:
    array = array.copy()
    flat = array.reshape(-1)
    if not flat.size:
        return array
    some = draw.integers(flat.size, size=int(draw.integers(1, 4)))
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        values = (limits.min, limits.max, 0, int(limits.max) // 2, limits.min // 2)
    else:
        values = (0, 1, -1) if array.dtype.kind != "f" else (np.nan, np.inf, 1e30, 0)
    if draw.random() < 0.2:
        some = slice(None)
    flat[some] = np.array(pick(draw, values)).astype(array.dtype)
    return array


# Safetensors.

def mutated_header(draw: np.random.Generator, data: bytes) -> bytes:
    """Return a safetensors file with its header, all of JSON, changed; its size is right."""
    size = int.from_bytes(data[:8], "little")
    text = mutated_json(draw, json.loads(data[8:8 + size])).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[8 + size:]


# Instructions.

def mutated_instructions(draw: np.random.Generator, program: Program) -> Program:
    """Return a program with one or two fields of instructions changed.

    The values are of the fields' formats, many of them next to those there were, so that most get
    past the decoder.
    """
    memory = bytearray(program.memory)
    steps = _steps(program)
    for _ in range(int(draw.integers(1, 3))):
        address, op = pick(draw, steps)
        memory[address:address + INSTRUCTION_BYTES] = _other_field(draw, op).encode()
    return replace(program, memory=bytes(memory))


@cache
def _steps(program: Program) -> list[tuple[int, Instruction]]:
    return program.instructions()


def _other_field(draw, op: Instruction) -> Instruction:
    names = isa.fields_of(op.opcode)
    if not names or draw.random() < 0.02:
        return Instruction(pick(draw, list(isa.Opcode)), {})
    name = pick(draw, names)
    fmt, value = isa.FIELDS[name], getattr(op, name)
    other = pick(draw, (value + 1, value - 1, value ^ 1 << int(draw.integers(fmt.bits)),
                        fmt.min, fmt.max, value // 2, 2 * value,
                        int(draw.integers(fmt.min, fmt.max + 1))))
    return Instruction(op.opcode, op.fields | {name: min(max(other, fmt.min), fmt.max)})

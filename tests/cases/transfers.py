"""Transfers between external memory and scratchpad, and what they do, byte by byte."""

import random

import numpy as np

from golden.core.isa import Layout, Opcode
from golden.memory.scratchpad import write_operand

MEMORY_BYTES = 1 << 14
TOP = (1 << 32) - MEMORY_BYTES
"""Where external memory begins: it ends with the last address there is."""
STREAM = MEMORY_BYTES // 2
"""What of memory is for streams; transfers are of what is before."""


def carried_out(fields, memory, words, config):
    """Do a transfer as :mod:`golden.core.isa` has it, byte by byte."""
    place = fields["address"] - TOP
    size = fields.get("words", 0) * config.word_bytes
    if fields["opcode"] == Opcode.LOAD:
        data = memory[place:place + size].view("<u2").reshape(-1, config.rows)
        words[fields["dest"]:fields["dest"] + len(data)] = data
    elif fields["opcode"] == Opcode.STORE:
        data = words[fields["source"]:fields["source"] + fields["words"]]
        memory[place:place + size] = data.reshape(-1).view(np.uint8)
    else:
        patches = np.zeros((fields["m"], fields["k"]), np.uint8)
        for patch in range(fields["m"] - 1):
            y, x = divmod(patch, fields["grid"])
            for byte in range(fields["k"]):
                run, at = divmod(byte, fields["run_bytes"])
                patches[patch + 1, byte] = memory[
                    place + y * fields["patch_row_bytes"] + x * fields["run_bytes"]
                    + run * fields["image_row_bytes"] + at]
        write_operand(words, fields["dest"], fields["dest_stride"], patches, Layout.OPERAND8)


def linear(opcode, config, words, rng, *, first=None):
    """A LOAD or STORE of so many words, anywhere or at `first` of the scratchpad."""
    place = rng.randrange((STREAM - words * config.word_bytes) // config.bus_bytes + 1)
    if first is None:
        first = rng.randrange(config.scratchpad_words - words + 1)
    side = "dest" if opcode == Opcode.LOAD else "source"
    return {"opcode": opcode, "words": words, side: first,
            "address": TOP + place * config.bus_bytes}


def patches(config, rng, *, runs, run_beats, grid, rows, gap=0):
    """PATCHES of `rows` x `grid` patches, of `runs` runs of so many beats."""
    bus, run = config.bus_bytes, run_beats * config.bus_bytes
    k = runs * run
    stride = -(-k // 2) + gap
    line = grid * run + gap * bus
    size = (rows * runs + 1) * line
    place = rng.randrange((STREAM - size) // bus) * bus
    tiles = -(-(1 + rows * grid) // config.rows)
    return {"opcode": Opcode.PATCHES, "m": 1 + rows * grid, "k": k, "run_bytes": run, "grid": grid,
            "image_row_bytes": line, "patch_row_bytes": runs * line, "address": TOP + place,
            "dest": rng.randrange(config.scratchpad_words - tiles * stride + 1),
            "dest_stride": stride}


def random_transfers(config, seed):
    """All kinds, the shortest, and at both ends of the scratchpad."""
    rng = random.Random(seed)
    last = config.scratchpad_words
    made = [linear(opcode, config, words, rng, first=first)
            for opcode in (Opcode.LOAD, Opcode.STORE)
            for words, first in ((1, 0), (1, last - 1), (rng.randint(2, 12), None),
                                 (rng.randint(2, 12), None))]
    made += [patches(config, rng, runs=rng.randint(1, 3), run_beats=rng.randint(1, 3),
                     grid=rng.randint(1, config.rows), rows=rng.randint(0, 2),
                     gap=rng.randrange(3)) for _ in range(5)]
    made.append(patches(config, rng, runs=1, run_beats=1, grid=1, rows=1))
    rng.shuffle(made)
    return made

"""Which activations stay on chip, and what the others cost in external memory traffic.

A value lives from the operation that makes it to the last one that reads it. Made while memory is
short, it pushes out the values that are not needed for longest; what still does not fit lives in
external memory: written once, read at each use. Scores and probabilities, which products and vector
operations pass on head by head, take the space of two heads, or of bands of their rows that fill at
most half the scratchpad.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .workload import IMAGE, Product, Workload


@dataclass(slots=True)
class Spill:
    """Bytes of an operation that go to and come from external memory for want of space.

    `left` is the part of the activation operand of a product that lies there.
    """

    written: int = 0
    read: int = 0
    left: int = 0


def bands(size: int, parts: int, capacity: int) -> int:
    """Return the bands of rows in which a part of a value of `size` bytes is passed on."""
    return max(1, -(-4 * size // (parts * capacity))) if parts > 1 else 1


def space(size: int, parts: int, capacity: int) -> int:
    """Return the bytes that a value of `size` bytes in independent parts takes at a time."""
    return min(size, -(-2 * size // (parts * bands(size, parts, capacity)))) if parts > 1 else size


def spills(workload: Workload, sizes: Sequence[int], scratch: Sequence[int], capacity: int,
           kept: int = 0) -> tuple[list[Spill], int]:
    """Return what each operation spills, and the most bytes that are ever live at a time.

    Parameters
    ----------
    sizes
        Bytes of the value each operation makes, and last those of the image.
    scratch
        Bytes an operation needs beside its values, written and read once.
    capacity
        Bytes of the scratchpad.
    kept
        Bytes of it that are kept for values in external memory to pass through.
    """
    memory = _Memory(workload, sizes, capacity, kept)
    return memory.run(scratch), memory.peak


class _Memory:
    def __init__(self, workload, sizes, capacity, kept):
        self._operations = workload.operations
        self._sizes = sizes
        self._scratchpad = capacity
        self._capacity = capacity - kept
        self._on_chip = {}
        self._outside = {}
        self._uses = {}
        self.peak = 0
        for number, op in enumerate(self._operations):
            for value in op.reads:
                self._uses.setdefault(value, []).append(number)

    def run(self, scratch) -> list[Spill]:
        self._on_chip[IMAGE] = min(self._sizes[IMAGE], self._capacity)
        self._outside[IMAGE] = self._sizes[IMAGE] - self._on_chip[IMAGE]
        return [self._step(number, op, scratch[number])
                for number, op in enumerate(self._operations)]

    def _step(self, number, op, scratch) -> Spill:
        dying = {value for value in op.reads if self._uses[value][-1] == number}
        spill = Spill(read=sum(map(self._bytes_outside, op.reads)),
                      left=sum(map(self._bytes_outside, getattr(op, "left", ()))))
        need = space(self._sizes[number], op.parts, self._scratchpad)
        live = sum(self._on_chip.values()) + sum(self._outside.values())
        replaced = self._replaced(op, dying)
        if replaced is not None:
            place = self._drop(replaced)
            live -= place
            if op.parts > 1:  # one part may be made while another is still read
                need = max(need, place)
        self.peak = max(self.peak, live + need + scratch)

        free = self._capacity - sum(self._on_chip.values())
        free += self._evict(number, need + scratch - free, spill)
        kept = max(0, min(need, free))
        self._on_chip[number], self._outside[number] = kept, need - kept
        short = max(0, scratch - (free - kept))
        spill.written += self._bytes_outside(number) + short
        spill.read += short
        for value in dying - {replaced}:
            self._drop(value)
        if number not in self._uses:
            self._drop(number)
        return spill

    def _replaced(self, op, dying):
        """Value whose place the new one takes, row by row.

        The old residual stream by the new one; what a vector operation reads by what it makes.
        """
        candidates = set(op.extra) if isinstance(op, Product) else set(op.reads)
        return max((value for value in candidates & dying - {IMAGE}
                    if self._operations[value].elements == op.elements), default=None)

    def _evict(self, number, wanted, spill) -> int:
        """Move up to `wanted` bytes out, of values used last, and return how many."""
        def next_use(value):
            return next((use for use in self._uses.get(value, ()) if use > number),
                        len(self._operations))

        idle = [value for value in self._on_chip if value not in self._operations[number].reads]
        moved = 0
        for value in sorted(idle, key=next_use, reverse=True):
            size = max(0, min(self._on_chip[value], wanted - moved))
            before = self._bytes_outside(value)
            self._on_chip[value] -= size
            self._outside[value] += size
            spill.written += self._bytes_outside(value) - before
            moved += size
        return moved

    def _bytes_outside(self, value) -> int:
        """Bytes of all parts of a value that pass through external memory."""
        share = self._on_chip[value] + self._outside[value]
        return self._outside[value] * self._sizes[value] // share if share else 0

    def _drop(self, value) -> int:
        return self._on_chip.pop(value) + self._outside.pop(value)

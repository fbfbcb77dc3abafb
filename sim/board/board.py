"""What a host does with a board: puts a program into its memory, and runs images."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from golden.core.isa import Status
from golden.core.program import Program, ProgramError, walk
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.soc.boards import BOARDS
from golden.soc.link import BLOCK
from golden.soc.registers import REGISTERS
from golden.soc.system import System

from .errors import RunFailed, WrongCore
from .link import Link, Progress, compare
from .simulated import SimulatedBoard

WHY = {
    Status.ILLEGAL_INSTRUCTION: "the core does not know it, or its program ends there",
    Status.BUS_ERROR: "memory has answered with an error",
}
STILL_S = 10
"""Seconds in which an instruction must end; a simulated board may take as many minutes."""

_POLL_S = 0.002
_MARK_BYTES = 32
_LINE = 64  # places in memory begin at multiples of so many bytes


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What has come of a run.

    Attributes
    ----------
    logits : int16 array, shape (classes,)
    cycles
        From start to end, by the board's own counter.
    counters
        All of the board's counters.
    """

    logits: np.ndarray
    cycles: int
    counters: dict[str, int]


class Board:
    """A board at the other end of a link.

    Parameters
    ----------
    link
        To it.
    simulated
        The board, if it is simulated: bulk data go by its back door.
    pause
        Called with seconds between two looks at a run.
    """

    def __init__(self, link: Link, simulated: SimulatedBoard | None = None, *,
                 pause: Callable[[float], None] = time.sleep):
        self.link, self._simulated, self._pause = link, simulated, pause
        self._still = STILL_S * (60 if simulated else 1)

    @property
    def system(self):
        """What the board is, :class:`golden.soc.system.System`."""
        return self.link.system

    @property
    def memory(self) -> SdramMemory | MemoryModel:
        """The memory of the known board that this one is, else the usual one: what the cycles of
        its programs are reckoned with.
        """
        return next((memory for memory in BOARDS.values()
                     if System.of(self.system.config, memory) == self.system), USUAL)

    def check(self, program: Program) -> None:
        """Return if the board can run a program.

        Raises
        ------
        WrongCore
            If it cannot.
        """
        system = self.system
        for one in fields(system.config):
            has, wanted = (getattr(config, one.name) for config in (system.config, program.config))
            if has != wanted:
                raise WrongCore(f"the board's core has {one.name} {has}, and the program is for "
                                f"{wanted}")
        if len(program.memory) + self._mark_bytes > system.memory_bytes:
            raise WrongCore(f"the program needs {len(program.memory) + self._mark_bytes:,} bytes "
                            f"of memory, and the board has {system.memory_bytes:,}")

    def load(self, program: Program, *, progress: Progress | None = None,
             frames: bool = False) -> bool:
        """Put a program into memory, unless it is there already; return whether it was put.

        The last bytes of memory say which program is there: written when all of it is.

        Parameters
        ----------
        progress
            Called with the bytes that are done, and all.
        frames
            Have a simulated board take every byte over its line.

        Raises
        ------
        WrongCore
            If the board cannot run it.
        """
        self.check(program)
        system = self.system
        place = system.memory_bytes - self._mark_bytes
        mark = hashlib.sha256(program.memory).digest()[:_MARK_BYTES].ljust(self._mark_bytes, b"\0")
        loaded = self.link.read(place, len(mark)) != mark
        if loaded:
            self.link.write(place, bytes(len(mark)))
            unit = system.config.bus_bytes
            data = program.memory.ljust(-(-len(program.memory) // unit) * unit, b"\0")
            if self._simulated is not None and not frames:
                self._simulated.put(0, data)
            else:
                self.link.write(0, data, progress=progress)
            self.link.write(place, mark)
        self.link.poke("STREAM", program.stream.address)
        self.link.poke("STREAM_BYTES", program.stream.size)
        return loaded

    def run(self, program: Program, pixels: np.ndarray,
            progress: Callable[[int], None] | None = None) -> Ran:
        """Run an image through the program that has been loaded, as :meth:`run_all` does."""
        return next(self.run_all(program, [pixels], progress))

    def run_all(self, program: Program, images: Iterable[np.ndarray],
                progress: Callable[[int], None] | None = None) -> Iterator[Ran]:
        """Run images through the program that has been loaded, one after the other.

        While one runs, the next one is sent, if memory has room for it behind the program; its
        requests then take a few of the core's cycles.

        Parameters
        ----------
        images : of uint8 arrays, shape (side, side, 3)
        progress
            Called with the number of instructions of an image that have been carried out, now and
            then.

        Raises
        ------
        RunFailed
            If the core stops with an error, or does not come to its end.
        """
        offsets, running = self._offsets(program), None
        for number, pixels in enumerate(images):
            offset = offsets[number % len(offsets)]
            if running == offset:
                yield self._result(program, running, progress)
                running = None
            self._send(program, pixels, offset)
            if running is not None:
                yield self._result(program, running, progress)
            running = offset
            self._start(offset)
        if running is not None:
            yield self._result(program, running, progress)

    def _offsets(self, program: Program) -> list[int]:
        """Return how far behind the program's own places images and their logits can be."""
        first = min(program.image.address, program.logits.address)
        end = max(one.address + one.size for one in (program.image, program.logits))
        offset = -(-(len(program.memory) - first) // _LINE) * _LINE
        fits = end + offset <= self.system.memory_bytes - self._mark_bytes
        return [0, offset] if fits else [0]

    def _send(self, program: Program, pixels: np.ndarray, offset: int) -> None:
        image, unit = program.with_image(pixels), self.system.config.bus_bytes
        first = program.image.address // unit * unit
        size = program.pixel_bytes * program.side**2
        last = -(-(program.image.address + size) // unit) * unit
        self.link.write(first + offset, image[first:min(last, len(image))].tobytes().ljust(
            last - first, b"\0"))

    def _result(self, program: Program, offset: int, progress) -> Ran:
        """Wait for a run, and return what has come of it."""
        self._wait(program, progress)
        logits = np.frombuffer(self.link.read(program.logits.address + offset,
                                              program.logits.size), "<i2")
        counters = self.link.counters()
        return Ran(logits[:program.classes].astype(np.int16), counters["cycles"], counters)

    def execute(self, program: Program, progress: Callable[[int], None] | None = None) -> None:
        """Have the core go once through the program that has been loaded.

        Raises
        ------
        RunFailed
            As :meth:`run_all` does.
        """
        self._start(0)
        self._wait(program, progress)

    def _start(self, offset: int) -> None:
        for name, value in (("IMAGE_OFFSET", offset), ("LOGITS_OFFSET", offset), ("IMAGES", 1)):
            self.link.poke(name, value)
        self.link.poke("CONTROL", 1 << REGISTERS["CONTROL"].field("start").low)

    def memtest(self, count: int, *, seed: int = 1, progress: Progress | None = None) -> int:
        """Write and read back random bytes, then their complements, all over memory; whatever was
        there is lost.

        Parameters
        ----------
        count
            Bytes, in blocks evenly over all of memory.
        progress
            Called with the bytes that are done, and all, both passes written and read.

        Returns
        -------
        int
            Bytes that were tested.

        Raises
        ------
        WrongMemory
            If some do not hold.
        """
        size = self.system.memory_bytes
        blocks = max(1, min(count, size) // BLOCK)
        spread = size // blocks // BLOCK * BLOCK
        self.link.write(size - self._mark_bytes, bytes(self._mark_bytes))
        data = np.random.default_rng(seed).integers(0, 256, blocks * BLOCK, dtype=np.uint8)
        done, total = 0, 4 * len(data)
        for wanted in (data, ~data):
            for act in (self.link.write, self._hold):
                for number in range(blocks):
                    act(number * spread, wanted[number * BLOCK:(number + 1) * BLOCK].tobytes())
                    done += BLOCK
                    if progress is not None:
                        progress(done, total)
        return len(data)

    def _hold(self, address: int, wanted: bytes) -> None:
        compare(address, self.link.read(address, len(wanted)), wanted)

    def _wait(self, program: Program, progress: Callable[[int], None] | None) -> None:
        before, since = -1, time.monotonic()
        while True:
            word, index = self.link.peek("STATUS"), self.link.peek("INDEX")
            status = REGISTERS["STATUS"]
            if progress is not None:
                progress(index)
            if status.field("done").of(word):
                error = status.field("error").of(word)
                if error:
                    raise RunFailed(index, _named(program, index), WHY.get(
                        error, f"the core ends with status {error}"))
                return
            if index != before:
                before, since = index, time.monotonic()
            elif time.monotonic() - since > self._still:
                raise RunFailed(index, _named(program, index),
                                f"it has not ended in {self._still} seconds")
            self._pause(_POLL_S)

    @property
    def _mark_bytes(self) -> int:
        unit = self.system.config.bus_bytes
        return -(-_MARK_BYTES // unit) * unit


def _named(program: Program, index: int) -> str:
    """Return what an instruction is, for messages."""
    try:
        for at, (_, op) in enumerate(walk(program.memory, program.stream, program.config)):
            if at == index:
                return f" ({str(op).split()[0]})"
    except ProgramError:
        pass
    return ""

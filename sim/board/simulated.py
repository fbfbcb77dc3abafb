"""A board that is simulated: its RTL under Verilator, its serial port a pseudo terminal."""

import contextlib
import mmap
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory
from golden.soc.boards import BOARDS
from golden.soc.system import System

from ..cli import UserError, file_errors, one_line
from .port import open_port

MEMORY = BOARDS["ulx3s"]
TIME_S = 5
"""Seconds without a byte after which a simulated board does not answer: its RTL is slow."""


@dataclass(frozen=True)
class Run:
    """What a simulated board says of a run: the cycles of each instruction, and of all."""

    instruction_cycles: list[int]
    cycles: int


class SimulatedBoard:
    """A board, started with `with`.

    Parameters
    ----------
    config
        Of its core.
    memory
        Its memory, and the clock of both, which is simulated as fast as it goes.
    verilog
        Of what is simulated, as :func:`sim.harness.board_build.build_board` takes it.
    time
        Seconds without a byte after which it does not answer: more than simulating a block of
        memory on the line takes, about 41,000 cycles.

    Attributes
    ----------
    name
        Of its serial port, while it runs.
    """

    def __init__(self, config: AcceleratorConfig, memory: SdramMemory = MEMORY, *,
                 verilog: Callable[[int], str] | None = None, time: float = TIME_S):
        self.system = System.of(config, memory)
        self._board, self._verilog, self._time, self._opened = memory, verilog, time, None

    def __enter__(self) -> "SimulatedBoard":
        from rtl.soc.host_link import PAUSE_BITS
        from rtl.soc.uart import UartReceiver

        from ..harness.board_build import build_board

        divisor = UartReceiver.SHORTEST  # the fastest line there is: a simulation takes its time
        binary = build_board(self.system.config, self._board, self.system.clock_hz // divisor,
                             self._verilog)
        with contextlib.ExitStack() as opened, file_errors("cannot simulate"):
            place = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="vernier-")))
            self._log = place / "log"
            with open(place / "memory", "w+b") as file:
                file.truncate(self.system.memory_bytes)
                self._memory = opened.enter_context(mmap.mmap(file.fileno(), 0))
            self._errors = opened.enter_context(open(place / "errors", "w+"))
            self._process = subprocess.Popen(
                [binary, "memory", place / "memory", "log", self._log, "divisor", str(divisor),
                 "patience", str(PAUSE_BITS * divisor)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
            opened.callback(self._stop)
            said = self._process.stdout.readline()
            if not said.startswith("port "):
                self._process.wait()
                raise UserError(f"the simulation failed: {self.trouble() or 'it says nothing'}")
            self.name = said.removeprefix("port ").strip()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *about):
        self._opened.close()

    def _stop(self):
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self):
        """Return its serial port; closing it leaves the board as it is."""
        return open_port(self.name, time=self._time)

    def trouble(self) -> str:
        """Return what has ended the simulation; nothing while it goes on."""
        if self._process.poll() is None:
            return ""
        self._errors.seek(0)
        return one_line(self._errors.read()) or f"status {self._process.returncode}"

    def put(self, address: int, data: bytes):
        """Put bytes into memory by a back door: the line would take long for many."""
        self._memory[address:address + len(data)] = data

    def get(self, address: int, count: int) -> bytes:
        """Return bytes of memory by the back door."""
        return self._memory[address:address + count]

    def runs(self) -> list[Run]:
        """Return the runs that have ended, in order."""
        found, ends = [], []
        with file_errors("cannot read what was simulated"):
            lines = self._log.read_text().splitlines()
        for line in lines:
            what, _, cycle = line.rpartition(" ")
            if what == "begin":
                ends = []
            elif what == "end":
                cycles = int(cycle)
                lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
                if lengths:
                    lengths[-1] += cycles - ends[-1]
                found.append(Run(lengths, cycles))
            else:
                ends.append(int(cycle))
        return found

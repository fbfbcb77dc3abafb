"""The link under Verilator, against the golden device."""

import os
import re
import subprocess
from pathlib import Path

from amaranth.back import verilog

from golden.soc.system import System
from rtl.soc.uart import line_layout
from tests.benches.link_board import PAUSE, LinkBoard
from tests.benches.netlist import FAST_BUILD
from tests.benches.verilate import VERILATOR_ARGS
from tests.cases.link_traffic import Traffic, device, happens

HERE = Path(__file__).parent
ERROR = line_layout.const({"byte": 0, "error": 1}).as_bits()
MARGIN = 20  # cycles
SHOWN = 1000
"""Episodes between two comparisons of all memory."""


class LinkReplay:
    """A board of a system, built for Verilator."""

    def __init__(self, system: System, folder: Path):
        self._system, self._folder = system, folder
        bus = system.config.bus_bytes
        (folder / "top.v").write_text(verilog.convert(LinkBoard(system), name="top",
                                                      emit_src=False))
        subprocess.run(
            ["verilator", "--binary", "--timing", *VERILATOR_ARGS, "-Wno-WIDTH", "-CFLAGS",
             "-fcoroutines", "--timescale", "1ns/1ps", "--top-module", "tb", "-Mdir", "obj",
             f"-GBEAT={8 * bus}", f"-GBEATS={system.memory_bytes // bus}",
             HERE / "tb_link.v", "top.v"],
            cwd=folder, check=True, capture_output=True, env={**os.environ, **FAST_BUILD})

    def check(self, seed: int, episodes: int) -> int:
        """Compare random traffic; return the frames that were answered."""
        path = self._folder / "traffic.txt"
        with path.open("w") as file:
            frames = sum(self._written(file, seed, episodes))
        printed = subprocess.run([self._folder / "obj" / "Vtb", f"+file={path}"], check=True,
                                 capture_output=True, text=True).stdout
        assert re.search(r"\d+ cycles alike", printed), f"seed {seed}: {printed}"
        return frames

    def _written(self, file, seed, episodes):
        """Write what happens and what is answered; give the frames of each episode."""
        board, traffic = device(self._system), Traffic(self._system, seed)
        for index in range(episodes):
            file.write(f"n {index:x}\n")
            waiting = frames = 0
            for event in traffic.episode():
                answer = happens(board, event)
                frames += answer.count(b"\x7e") // 2
                if event.kind != "bytes":
                    file.write("w 0\n")
                file.writelines(f"a {byte:x}\n" for byte in answer)
                if event.kind == "bytes":
                    waiting = len(event.data)
                    file.writelines(f"s {byte:x}\n" for byte in event.data)
                else:
                    file.write({"pause": f"w {PAUSE + waiting + MARGIN:x}\n",
                                "error": f"s {ERROR:x}\n", "reset": "r 0\n",
                                "busy": f"b {event.value:x}\n"}[event.kind])
            file.write(f"w 0\nt {board.registers.starts:x}\n")
            if index % SHOWN == SHOWN - 1 or index == episodes - 1:
                self._show(file, board)
            yield frames

    def _show(self, file, board):
        bus, memory = self._system.config.bus_bytes, board._memory
        for at in range(0, len(memory), bus):
            file.write(f"m {int.from_bytes(memory[at:at + bus], 'little'):x}\n")

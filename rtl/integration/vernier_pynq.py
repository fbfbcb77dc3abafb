"""Not run on PYNQ: a driver of the core behind AXI4 for PYNQ.

SPDX-License-Identifier: Apache-2.0

To be put on the board with ``vernier_registers.py`` and a program of ``python -m sim.compile``::

    from pynq import Overlay
    import vernier_pynq                      # before the overlay, which then takes the class

    core = Overlay("vernier.bit").vernier_axi4_0
    core.load("program")                     # the folder
    logits = core.run(pixels)                # uint8, (side, side, 3)
    for logits in core.run_all(images):      # the next image is put while one runs
        ...

The overlay has the hardware description ``vernier.hwh`` beside ``vernier.bit``.
"""

import json
import time
from pathlib import Path

import numpy as np
from pynq import DefaultIP, allocate
from vernier_registers import ADDRESSES, IDENTITY, MASKS, VERSION

LINE = 64
"""Bytes of a cache line, or more."""

SOURCES = "nothing", "the program's stream", "what it loads", "what it stores"
"""What memory was asked for when it answered with an error, by ERROR_SOURCE."""


class Vernier(DefaultIP):
    """A core with its registers at AXI4-Lite, and its memory in that of the processor."""

    bindto = ["vernier:vernier:vernier_axi4:1.0", "xilinx.com:module_ref:vernier_axi4:1.0"]

    def __init__(self, description):
        super().__init__(description=description)
        self._about = self._memory = None
        self._ready = True  # no run is waited for
        found = self.register("ID"), self.register("VERSION")
        if found != (IDENTITY, VERSION):
            raise RuntimeError(f"ID and VERSION must be 0x{IDENTITY:08x} and {VERSION}, "
                               f"not 0x{found[0]:08x} and {found[1]}")

    def register(self, name):
        """Return a register."""
        return self.read(ADDRESSES[name])

    def set_register(self, name, value):
        """Write a register."""
        self.write(ADDRESSES[name], value)

    def load(self, folder):
        """Put the program of a folder into memory that the core can reach."""
        about = json.loads((Path(folder) / "program.json").read_text())
        taken = self.register("ENCODING")
        if taken != about["version"]:
            raise ValueError(f"the core takes instructions of version {taken}, and the program has "
                             f"those of version {about['version']}")
        for name, wanted in about["config"].items():
            has = self.register(f"CONFIG_{name.upper()}")
            if has != wanted:
                raise ValueError(f"the core has {name} {has}, and the program is for {wanted}")
        image = np.fromfile(Path(folder) / "memory.bin", np.uint8)
        self.free()
        # Behind the program a second image and its logits, as far apart as the first ones.
        first = min(about[name]["address"] for name in ("image", "logits"))
        end = max(about[name]["address"] + about[name]["size"] for name in ("image", "logits"))
        self._offsets = 0, -(-(len(image) - first) // LINE) * LINE
        self._memory = allocate(shape=(end + self._offsets[1],), dtype=np.uint8)
        self._memory[:len(image)] = image
        self._memory.flush()
        base = self._memory.device_address
        for name, value in {"STREAM": about["stream"]["address"],
                            "STREAM_BYTES": about["stream"]["size"],
                            "BASE_LOW": base & 0xffff_ffff, "BASE_HIGH": base >> 32}.items():
            self.set_register(name, value)
        kept = self.register("BASE_LOW") | self.register("BASE_HIGH") << 32
        if kept != base:
            self.free()
            raise RuntimeError(f"the core cannot have its memory at 0x{base:x}")
        self._about = about

    def run(self, pixels, timeout=10.0):
        """Return the logits of an image, uint8 of shape (side, side, 3), as int16."""
        return next(self.run_all([pixels], timeout))

    def run_all(self, images, timeout=10.0):
        """Yield the logits of images, of each as :meth:`run` has it; the next one is put while one
        runs.
        """
        if self._about is None:
            raise RuntimeError("no program has been loaded")
        running = None
        try:
            for number, pixels in enumerate(images):
                offset = self._offsets[number % 2]
                self._put(pixels, offset)
                if running is not None:
                    yield self._take(running, timeout)
                running = offset
                self._start(offset)
            if running is not None:
                yield self._take(running, timeout)
        finally:
            if not self._ready:
                self._wait(timeout)

    def _start(self, offset):
        self.set_register("IMAGE_OFFSET", offset)
        self.set_register("LOGITS_OFFSET", offset)
        self.set_register("IMAGES", 1)
        self.set_register("INTERRUPT_PENDING", self.register("INTERRUPT_PENDING"))
        self._ready = False
        self.set_register("CONTROL", MASKS["CONTROL", "start"])

    def _put(self, pixels, offset):
        side = self._about["side"]
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.shape != (side, side, 3):
            raise ValueError(f"pixels must be uint8 of shape {(side, side, 3)}, not "
                             f"{pixels.dtype} of shape {pixels.shape}")
        first = self._about["image"]["address"] + offset
        count = side * side  # of pixels; in memory there may be a byte of zero behind each
        size = 4 * count if self._about["image"]["size"] == 4 * count else 3 * count
        self._memory[first:first + size].reshape(count, -1)[:, :3] = pixels.reshape(-1, 3)
        self._memory[first:first + size].flush()

    def _take(self, offset, timeout):
        self._wait(timeout)
        first = self._about["logits"]["address"] + offset
        self._memory[first:first + 2 * self._about["classes"]].invalidate()
        data = bytes(self._memory[first:first + 2 * self._about["classes"]])
        return np.frombuffer(data, "<i2").astype(np.int16)

    def cycles(self):
        """Return the cycles of the last run."""
        return self.register("CYCLES_LOW") | self.register("CYCLES_HIGH") << 32

    def free(self):
        """Give the memory back."""
        if self._memory is not None:
            self._memory.freebuffer()
        self._about = self._memory = None

    def _wait(self, timeout):
        self._ready = True
        end = time.monotonic() + timeout
        while not (status := self.register("STATUS")) & MASKS["STATUS", "done"]:
            if time.monotonic() > end:
                raise TimeoutError(f"the core has not ended in {timeout} seconds, after "
                                   f"{self.register('INDEX')} instructions")
        self.set_register("INTERRUPT_PENDING", self.register("INTERRUPT_PENDING"))
        if status & MASKS["STATUS", "error"]:
            source = SOURCES[self.register("ERROR_SOURCE") & MASKS["ERROR_SOURCE", "source"]]
            raise RuntimeError(
                f"the core has stopped after {self.register('INDEX')} instructions, STATUS "
                f"0x{status:x}; memory failed for {source}, at "
                f"0x{self.register('ERROR_ADDRESS'):x}")

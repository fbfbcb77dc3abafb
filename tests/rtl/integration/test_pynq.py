"""The driver for PYNQ, with a stand-in for PYNQ and the golden registers behind it."""

import json
import sys
import types
from dataclasses import asdict

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import ENCODING, Status
from golden.soc.register_files import python
from golden.soc.registers import IDENTITY, REGISTERS, VERSION, Answer, ErrorSource, RegisterFile
from golden.soc.system import System
from rtl.integration.drivers import drivers

SYSTEM = System(CORES["4x4"], 0, 1 << 31, 40)
SIDE, IMAGE, LOGITS, CLASSES = 2, 64, 32, 3
ABOUT = {"config": asdict(SYSTEM.config), "stream": {"address": 128, "size": 48},
         "image": {"address": IMAGE, "size": 12}, "logits": {"address": LOGITS, "size": 6},
         "version": ENCODING, "side": SIDE, "classes": CLASSES}
PIXELS = np.arange(3 * SIDE ** 2, dtype=np.uint8).reshape(SIDE, SIDE, 3)


class Buffer(np.ndarray):
    """Memory with two views: this array is the processor's, `seen` the core's."""

    device_address = 0x12_3456_7000
    freed = 0

    def __array_finalize__(self, whole):
        """See the same part of what the core sees."""
        if isinstance(whole, Buffer) and self.ndim == 1:
            first = self.ctypes.data - whole.ctypes.data
            self.seen = whole.seen[first:first + len(self)]

    def flush(self):
        """Have the core see it."""
        self.seen[:] = self

    def invalidate(self):
        """See what the core has written."""
        self[:] = self.seen

    def freebuffer(self):
        """Count it."""
        Buffer.freed += 1


class DefaultIP:
    """What PYNQ gives a driver: here, the golden registers, and what a run does."""

    def __init__(self, description):
        self.file = description["file"]
        self.status, self.buffers = Status.FINE, description["buffers"]

    def read(self, offset):
        """Read a register that is there."""
        value, answer = self.file.read(offset)
        assert answer is Answer.DONE
        return value

    def write(self, offset, value):
        """Write a register that is there; a run has ended in no time."""
        starts = self.file.starts
        assert self.file.write(offset, int(value)) is Answer.DONE
        if self.file.starts == starts:
            return
        written, core, seen = self.file.written, self.file.core, self.buffers[-1].seen
        assert self.file.pending == 0
        assert (written["STREAM"], written["STREAM_BYTES"]) == (128, 48)
        assert self.file.base == Buffer.device_address
        core.done, core.status, core.counters["cycles"] = 1, self.status, (5 << 32) + 7
        if self.status:
            core.index, core.error_source, core.error_address = 4, ErrorSource.READ, 0x150
        for image, logits in self.file.places:
            found = seen[IMAGE + image:][:CLASSES].astype("<i2") - 1000
            seen[LOGITS + logits:][:2 * CLASSES] = np.frombuffer(found.tobytes(), np.uint8)
        self.file.ended()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The driver, and a folder with a program."""
    buffers = []

    def allocate(shape, dtype):
        made = np.zeros(shape, dtype).view(Buffer)
        made.seen = np.full(shape, 0xee, dtype)
        buffers.append(made)
        return made

    pynq, registers, made = (types.ModuleType(name)
                             for name in ("pynq", "vernier_registers", "vernier_pynq"))
    pynq.DefaultIP, pynq.allocate, made.buffers = DefaultIP, allocate, buffers
    exec(python(SYSTEM), registers.__dict__)
    monkeypatch.setitem(sys.modules, "pynq", pynq)
    monkeypatch.setitem(sys.modules, "vernier_registers", registers)
    exec(compile(drivers("axi4")["vernier_pynq.py"], "vernier_pynq.py", "exec"), made.__dict__)
    (tmp_path / "memory.bin").write_bytes(bytes(range(176)))
    (tmp_path / "program.json").write_text(json.dumps(ABOUT))
    return made


def opened(module, system=SYSTEM):
    """A core of a system, with the driver."""
    return module.Vernier({"file": RegisterFile(system), "buffers": module.buffers})


def test_an_image_runs(module, tmp_path):
    core = opened(module)
    core.load(tmp_path)
    logits = core.run(PIXELS)
    assert logits.dtype == np.int16
    assert logits.tolist() == [-1000, -999, -998]
    assert core.file.pending == 0
    assert core.cycles() == (5 << 32) + 7
    assert bytes(module.buffers[-1].seen[128:176]) == bytes(range(128, 176))
    before = Buffer.freed
    core.load(tmp_path)
    assert Buffer.freed == before + 1


def test_the_next_image_comes_while_one_runs(module, tmp_path):
    core = opened(module)
    core.load(tmp_path)
    images = [PIXELS + 10 * number for number in range(4)]
    taken = []

    def given():
        for image in images:
            taken.append(core.file.starts)
            yield image

    logits = [found.tolist() for found in core.run_all(given())]
    assert logits == [[10 * number + at - 1000 for at in range(CLASSES)] for number in range(4)]
    assert taken == [0, 1, 2, 3]
    assert core.file.runs == 4
    assert list(core.run_all([])) == []
    with pytest.raises(ValueError, match="pixels must be"):
        list(core.run_all([PIXELS, PIXELS[:1]]))
    assert core.file.pending == 0


def test_pixels_may_have_a_fourth_byte(module, tmp_path):
    about = ABOUT | {"image": {"address": IMAGE, "size": 4 * SIDE ** 2}}
    (tmp_path / "program.json").write_text(json.dumps(about))
    core = opened(module)
    core.load(tmp_path)
    core.run(PIXELS)
    seen = module.buffers[-1].seen
    assert seen[IMAGE:IMAGE + 4 * SIDE ** 2].reshape(-1, 4)[:, :3].tolist() == \
        PIXELS.reshape(-1, 3).tolist()
    assert bytes(seen[IMAGE + 4 * SIDE ** 2:176]) == bytes(range(IMAGE + 4 * SIDE ** 2, 176))


def test_it_is_bound_to_both_kinds_of_ip(module):
    script = drivers("axi4")["vernier_ip.tcl"]
    assert "-vendor vernier -library vernier " in script
    assert "set_property name vernier_axi4 $core" in script
    assert module.Vernier.bindto == ["vernier:vernier:vernier_axi4:1.0",
                                     "xilinx.com:module_ref:vernier_axi4:1.0"]


def test_sources_of_errors_have_names(module):
    assert len(module.SOURCES) == len(ErrorSource)


def test_an_error_is_told_with_its_address(module, tmp_path):
    core = opened(module)
    core.load(tmp_path)
    core.status = Status.BUS_ERROR
    with pytest.raises(RuntimeError, match=r"after 4 instructions, STATUS 0x202; memory failed for "
                                           r"what it loads, at 0x150$"):
        core.run(PIXELS)
    assert core.file.pending == 0


def test_a_run_that_does_not_end_is_given_up(module, tmp_path, monkeypatch):
    core = opened(module)
    core.load(tmp_path)
    monkeypatch.setattr(RegisterFile, "ended", lambda file: setattr(file.core, "done", 0))
    with pytest.raises(TimeoutError, match=r"not ended in 0\.01 seconds, after 0 instructions"):
        core.run(PIXELS, timeout=0.01)


def test_refuses_what_it_cannot_run(module, tmp_path):
    core = opened(module)
    with pytest.raises(RuntimeError, match="no program has been loaded"):
        core.run(PIXELS)
    core.load(tmp_path)
    with pytest.raises(ValueError, match=r"uint8 of shape \(2, 2, 3\), not float64 of shape"):
        core.run(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="the core has rows 8, and the program is for 4"):
        opened(module, System(CORES["8x16"], 0, 1 << 31, 40)).load(tmp_path)
    older = opened(module)
    older.register = lambda name: 2 if name == "ENCODING" else 0
    with pytest.raises(ValueError, match="instructions of version 2, and the program has those of"):
        older.load(tmp_path)
    with pytest.raises(RuntimeError, match="cannot have its memory at 0x1234567000"):
        opened(module, System(CORES["4x4"], 0, 1 << 31, 32)).load(tmp_path)


def test_refuses_another_ip(module, monkeypatch):
    monkeypatch.setattr(RegisterFile, "read", lambda file, address: (
        0x1234 if address == REGISTERS["ID"].address else 2, Answer.DONE))
    said = f"must be 0x{IDENTITY:08x} and {VERSION}, not 0x00001234 and 2"
    with pytest.raises(RuntimeError, match=said):
        opened(module)


@pytest.mark.parametrize(("name", "said"), [
    ("vernier_ip.tcl", "Vivado"), ("vernier_pynq.py", "PYNQ"), ("vernier_litex.py", "LiteX")])
def test_the_first_line_says_what_was_not_run(name, said):
    assert said in drivers("axi4")[name].partition("\n")[0]
    assert "Not run" in drivers("axi4")[name].partition("\n")[0]

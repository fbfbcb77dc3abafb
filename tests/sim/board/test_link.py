import random

import pytest

from golden.core.counters import COUNTERS
from golden.core.isa import ENCODING
from golden.soc.device import Device
from golden.soc.link import BLOCK, Response, Status
from golden.soc.registers import REGISTERS
from golden.soc.system import System
from sim.board.errors import (
    CrcError,
    LinkError,
    NoAnswer,
    PortGone,
    Refused,
    WrongMemory,
    WrongVersion,
)
from sim.board.link import TRIES, WINDOW, Link
from sim.board.port import open_port
from tests.cases.link_traffic import SYSTEMS

SYSTEM = System(SYSTEMS["4-byte beats"].config, 25_000_000, 1 << 16)


class Board:
    """A line to a board, on which `faults` of all frames are damaged, either way.

    Attributes
    ----------
    device
        The board.
    pauses
        How often nothing came.
    """

    def __init__(self, *, faults=0.0, seed=1, broken=()):
        self.device = Device(SYSTEM, bytearray(SYSTEM.memory_bytes), broken=broken)
        self.faults, self.pauses, self.longest = faults, 0, 0
        self._rng, self._answers, self.ahead = random.Random(seed), bytearray(), 0

    @property
    def in_waiting(self):
        return len(self._answers)

    def write(self, data):
        self.ahead += 1
        self.longest = max(self.longest, self.ahead)
        self._answers += self._passed(self.device.receive(self._passed(data)))

    def read(self, size):
        self.ahead = 0
        if not self._answers:
            self.pauses += 1
            self._answers += self.device.pause()
            return b""
        data = bytes(self._answers[:size])
        del self._answers[:size]
        return data

    def _passed(self, data):
        rng = self._rng
        if not data or rng.random() >= self.faults:
            return data
        at = rng.randrange(len(data))
        return rng.choice([
            lambda: data[:at] + data[at + 1:], lambda: data[:at], lambda: b"",
            lambda: data[:at] + data[at:at + 1] + data[at:], lambda: data + data,
            lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:],
            lambda: rng.randbytes(5) + data])()


class Answering:
    """A line on which the same comes whatever is sent."""

    def __init__(self, answer):
        self._answer, self._waiting = answer, b""

    def write(self, data):
        self._waiting = self._answer

    def read(self, size):
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data


def test_a_board_says_what_it_is():
    assert Link(Board()).system == SYSTEM


def test_memory_holds_what_is_written_and_reads_anywhere():
    board = Board()
    link, data = Link(board), random.Random(1).randbytes(10 * BLOCK + 8)
    link.write(0x100, data, verify=True)
    assert board.device._memory[0x100:0x100 + len(data)] == data
    assert link.read(0x103, 3000) == data[3:3003]
    assert link.read(0, 0) == b""
    assert board.longest == WINDOW
    assert board.pauses == 0


def test_progress_is_told():
    told = []
    Link(Board()).write(0, bytes(2 * BLOCK + 4), progress=lambda *each: told.append(each))
    total = 2 * BLOCK + 4
    assert told == [(BLOCK, total), (2 * BLOCK, total), (total, total)]


def test_registers_are_read_and_written():
    board = Board()
    link = Link(board)
    link.poke("STREAM", 0x12345678)
    assert link.peek("STREAM") == board.device.registers.written["STREAM"] == 0x12345678
    board.device.registers.core.counters = {name: (index << 32) + 5
                                            for index, name in enumerate(COUNTERS)}
    assert link.counters() == board.device.registers.core.counters


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_line_does_all_is_done_and_nothing_twice(seed):
    board = Board(faults=0.15, seed=seed)
    link, rng = Link(board, tries=30), random.Random(seed)
    memory = bytearray(SYSTEM.memory_bytes)
    for starts in range(1, 150):
        link.poke("CONTROL", 1)
        assert board.device.registers.starts == starts
        address, data = 4 * rng.randrange(3000), rng.randbytes(4 * rng.randint(1, 1000))
        link.write(address, data, verify=starts % 10 == 0)
        memory[address:address + len(data)] = data
        assert board.device._memory == memory
        assert link.read(address, 100) == memory[address:address + 100]
    assert board.pauses > 100


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_what_does_not_answer_is_told():
    with pytest.raises(NoAnswer) as error:
        Link(Answering(b"")).ping()
    assert one_line(error).startswith(f"the board does not answer ({TRIES} tries)")


@pytest.mark.parametrize(("answer", "message"), [
    (b"~12345678901~", "the check of a response must be 9f690350, not 38393031"),
    (b"~1~", "a response must have 8 bytes or more, not 1"),
    (Response(Status.BAD_CHECK).encode(), "the board says BAD_CHECK")])
def test_a_line_that_damages_everything_is_told(answer, message):
    with pytest.raises(CrcError) as error:
        Link(Answering(answer), tries=3).ping()
    assert one_line(error) == f"the line damages what is sent (3 tries): {message}"


def test_a_status_that_there_is_not_is_told():
    link = Link(Answering(b""))
    link._port = Answering(Response(99, (link._sequence + 1) % 256).encode())
    with pytest.raises(LinkError) as error:
        link.ping()
    assert one_line(error) == "the board answers status 99, which is none"


OTHER_ENCODING = (f"the board's core must take instructions of version {ENCODING}, not 2: build "
                  "its bitstream again")


@pytest.mark.parametrize(("name", "value", "message"), [
    ("ID", 5, "what answers must be a Vernier board (0x524e5256), not 0x00000005"),
    ("VERSION", 99, "the board's registers must have version 5, not 99"),
    ("ENCODING", 2, OTHER_ENCODING),
    ("CONFIG_ROWS", 0, "the board says what cannot be: rows must be within 1..256, not 0")])
def test_another_board_is_told(name, value, message):
    board = Board()
    board.device.registers._constants[name] = value
    with pytest.raises(WrongVersion) as error:
        Link(board).read(0, 4)
    assert one_line(error) == message


@pytest.mark.parametrize(("act", "message"), [
    (lambda link: link.read(SYSTEM.memory_bytes, 4),
     "the board refuses to read at 0x10000: there is nothing at this address"),
    (lambda link: link.write(0x80, bytes(8 * BLOCK)),
     "the board refuses to write at 0x480: its memory has an error"),
    (lambda link: link.poke("ID", 1),
     "the board refuses to poke at 0x0: this cannot be written, or not now")])
def test_what_the_board_refuses_is_told_and_the_link_goes_on(act, message):
    link = Link(Board(broken=[0x800]))
    with pytest.raises(Refused) as error:
        act(link)
    assert one_line(error) == message
    assert link.peek("MEMORY_BYTES") == SYSTEM.memory_bytes


def test_memory_that_forgets_is_told():
    board = Board()

    class Forgetful(bytearray):
        def __getitem__(self, place):
            found = bytearray(super().__getitem__(place))
            if isinstance(place, slice) and place.start == 0x40:
                found[2] = 7
            return found

    board.device._memory = Forgetful(SYSTEM.memory_bytes)
    with pytest.raises(WrongMemory) as error:
        Link(board).write(0, bytes(256), verify=True)
    assert one_line(error) == "memory at 0x42 must hold 0x00, not 0x07"
    assert error.value.address == 0x42


def test_an_answer_of_another_length_is_told():
    board = Board()
    link = Link(board)
    assert link.system
    link._port = Answering(Response(Status.FINE, (link._sequence + 1) % 256, b"12").encode())
    with pytest.raises(LinkError) as error:
        link.ping()
    assert one_line(error) == "the board must answer 0 bytes, not 2"


def test_writes_are_whole_beats():
    with pytest.raises(ValueError, match="must be multiples of 4, not 2 and 4"):
        Link(Board()).write(2, bytes(4))


@pytest.mark.parametrize(("name", "message"), [
    ("read", "cannot read from the port: it is\\x1b gone"),
    ("write", "cannot write to the port: it is\\x1b gone")])
def test_a_port_that_is_gone_is_told(name, message, monkeypatch):
    def gone(*_):
        raise OSError("it is\x1b\ngone")

    board = Board()
    monkeypatch.setattr(board, name, gone)
    with pytest.raises(PortGone) as error:
        Link(board).ping()
    assert one_line(error) == message


def test_a_serial_port_is_opened():
    port = open_port("loop://")
    port.write(b"back")
    assert port.read(4) == b"back"
    port.close()


def test_a_port_that_there_is_not_is_told(tmp_path):
    with pytest.raises(PortGone) as error:
        open_port(str(tmp_path / "none"))
    assert one_line(error).startswith(f"cannot open {tmp_path / 'none'}: ")


def test_all_registers_can_be_asked_for():
    link = Link(Board())
    assert all(link.peek(name) is not None for name in REGISTERS)

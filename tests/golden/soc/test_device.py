import random

import pytest

from golden.soc.device import Device
from golden.soc.link import BLOCK, FLAG, Opcode, Request, Response, Status, Unstuffer
from golden.soc.registers import REGISTERS
from golden.soc.system import System
from tests.cases.link_traffic import BROKEN, SYSTEMS, Traffic, device, happens

SYSTEM = SYSTEMS["4-byte beats"]


@pytest.fixture
def board():
    return device(SYSTEM)


def responses(data):
    line = Unstuffer()
    contents = [line.push(byte) for byte in data]
    return [Response.decode(content) for content in contents if content is not None]


def asked(board, *requests):
    return responses(board.receive(b"".join(request.encode() for request in requests)))


def test_reads_what_was_written(board):
    payload = bytes(range(200))
    assert asked(board, Request(Opcode.WRITE, 7, 0x100, payload)) == [Response(Status.FINE, 7)]
    assert asked(board, Request(Opcode.READ, 8, 0xfc, length=12)) == [
        Response(Status.FINE, 8, device(SYSTEM)._memory[0xfc:0x100] + payload[:8])]


@pytest.mark.parametrize(("request_", "status"), [
    (Request(Opcode.PING, 1), Status.FINE),
    (Request(Opcode.PING, 1, length=4), Status.BAD_LENGTH),
    (Request(0, 1), Status.UNKNOWN_OPCODE),
    (Request(6, 1, payload=b"1"), Status.UNKNOWN_OPCODE),
    (Request(Opcode.READ, 1, 0, length=BLOCK), Status.FINE),
    (Request(Opcode.READ, 1, 0, length=BLOCK + 4), Status.BAD_LENGTH),
    (Request(Opcode.READ, 1, 0, length=0), Status.BAD_LENGTH),
    (Request(Opcode.READ, 1, 0, length=6), Status.BAD_LENGTH),
    (Request(Opcode.READ, 1, 0, b"1234"), Status.BAD_LENGTH),
    (Request(Opcode.READ, 1, 2, length=4), Status.BAD_ADDRESS),
    (Request(Opcode.READ, 1, 4092, length=4), Status.FINE),
    (Request(Opcode.READ, 1, 4092, length=8), Status.BAD_ADDRESS),
    (Request(Opcode.READ, 1, 2**32 - 4, length=4), Status.BAD_ADDRESS),
    (Request(Opcode.READ, 1, BROKEN.start - 4, length=8), Status.MEMORY_ERROR),
    (Request(Opcode.WRITE, 1, 0, bytes(8), length=4), Status.BAD_LENGTH),
    (Request(Opcode.WRITE, 1, 0, bytes(4), length=8), Status.BAD_LENGTH),
    (Request(Opcode.WRITE, 1, BROKEN.start, bytes(4)), Status.MEMORY_ERROR),
    (Request(Opcode.WRITE, 1, 0, bytes(BLOCK + 1)), Status.BAD_FRAME),
    (Request(Opcode.PEEK, 1, 0, length=20), Status.FINE),
    (Request(Opcode.PEEK, 1, 0, length=24), Status.BAD_ADDRESS),
    (Request(Opcode.PEEK, 1, 1, length=4), Status.BAD_ADDRESS),
    (Request(Opcode.POKE, 1, 0, bytes(4)), Status.REFUSED),
    (Request(Opcode.POKE, 1, REGISTERS["STREAM"].address, bytes(4)), Status.FINE),
    (Request(Opcode.POKE, 1, REGISTERS["STREAM"].address, bytes(8)), Status.BAD_LENGTH),
    (Request(Opcode.POKE, 1, 0xffc, bytes(4)), Status.BAD_ADDRESS),
])
def test_each_request_has_its_status(board, request_, status):
    (response,) = asked(board, request_)
    assert response.status == status
    assert response.length == (request_.length if status == Status.FINE and not request_.payload
                               else 0)


def test_what_is_the_same_as_the_frame_before_is_not_carried_out_again(board):
    start = Request(Opcode.POKE, 1, REGISTERS["CONTROL"].address, b"\1\0\0\0")
    assert asked(board, start, start) == 2 * [Response(Status.FINE, 1)]
    assert board.registers.starts == 1
    board.registers.core.busy = 1
    assert asked(board, start)[0].status == Status.FINE
    other = Request(Opcode.POKE, 2, REGISTERS["CONTROL"].address, b"\1\0\0\0")
    assert [one.status for one in asked(board, other, other)] == 2 * [Status.REFUSED]
    board.registers.core.busy = 0
    assert asked(board, other)[0].status == Status.REFUSED
    assert asked(board, start)[0].status == Status.FINE
    assert board.registers.starts == 2


def test_a_frame_that_stops_is_reported_and_its_rest_ignored(board):
    frame = Request(Opcode.PING, 3).encode()
    assert board.receive(frame[:5]) == b""
    assert responses(board.pause()) == [Response(Status.TIMED_OUT)]
    assert board.pause() == b""
    assert board.receive(frame[5:]) == b""
    assert asked(board, Request(Opcode.PING, 4)) == [Response(Status.FINE, 4)]


def test_a_frame_within_a_damaged_one_is_not_seen(board):
    before = bytes(board._memory)
    inner = Request(Opcode.WRITE, 1, 0, b"evil").encode()
    frame = Request(Opcode.WRITE, 2, 64, (inner + bytes(3))[:len(inner) // 4 * 4]).encode()
    for at in range(len(frame)):
        for damaged in (frame[:at] + frame[at + 1:], frame[at:], frame[:at]):
            board.receive(damaged)
            board.pause()
            assert board._memory[:64] == before[:64]


@pytest.mark.parametrize("name", SYSTEMS)
def test_only_what_was_sent_is_ever_written_and_the_link_goes_on(name):
    system = SYSTEMS[name]
    board, traffic, unit = device(system), Traffic(system, 3, faults=0.8), system.config.bus_bytes
    ping = Request(Opcode.PING, 0).encode()
    faults = set()
    for index in range(4000):
        before = bytes(board._memory)
        events = traffic.episode()
        answers = [one.status for event in events for one in responses(happens(board, event))]
        faults.update(answers)
        sent = {place + at: payload[at:at + unit] for place, payload in traffic.writes
                for at in range(0, len(payload), unit)}
        changed = [at for at in range(0, len(before), unit)
                   if board._memory[at:at + unit] != before[at:at + unit]]
        assert all(any(payload[at - place:at - place + unit] == board._memory[at:at + unit]
                       for place, payload in traffic.writes
                       if place <= at < place + len(payload)) for at in changed), index
        assert set(changed) <= set(sent)
        assert responses(board.receive(ping))[-1] == Response(Status.FINE, 0)
        traffic.writes.clear()
    assert faults == set(Status)


def test_without_faults_on_the_line_every_request_has_one_response(board):
    traffic = Traffic(SYSTEM, 5, faults=0)
    for _ in range(1000):
        events = traffic.episode()
        data = b"".join(event.data for event in events)
        answers = responses(b"".join(happens(board, event) for event in events))
        line = Unstuffer()
        contents = [content for content in map(line.push, data) if content is not None]
        assert len(answers) == len(contents)
        assert not any(one.status in (Status.BAD_CHECK, Status.TIMED_OUT) for one in answers)


def test_garbage_ends_with_a_flag(board):
    board.receive(random.Random(2).randbytes(100_000))
    board.receive(bytes([FLAG]))
    assert asked(board, Request(Opcode.PING, 9))[-1] == Response(Status.FINE, 9)


def test_refuses_memory_of_another_size():
    with pytest.raises(ValueError, match="memory must have 4096 bytes, not 3"):
        Device(SYSTEM, bytearray(3))


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"config": 8}, TypeError, "config must be an AcceleratorConfig, not 8"),
    ({"clock_hz": -1}, ValueError, r"clock_hz must be within 0\.\.4294967295, not -1"),
    ({"address_bits": 31}, ValueError, r"address_bits must be within 32\.\.64, not 31"),
    ({"memory_bytes": 0}, ValueError, r"memory_bytes must be within 1\.\.2147483648, not 0"),
    ({"memory_bytes": 6}, ValueError, "memory_bytes must be a multiple of 4, not 6"),
])
def test_a_system_refuses_wrong_values(change, error, message):
    good = {"config": SYSTEM.config, "clock_hz": 1, "memory_bytes": 4}
    with pytest.raises(error, match=f"^{message}$"):
        System(**good | change)

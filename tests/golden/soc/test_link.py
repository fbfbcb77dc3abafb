import zlib

import pytest

from golden.soc.link import (
    BLOCK,
    FAULTS,
    Opcode,
    Request,
    Response,
    Status,
    Unstuffer,
    check,
    stuffed,
)

REQUESTS = {  # written out, but for the check
    Request(Opcode.PING, 0): "01 00 0000 00000000",
    Request(Opcode.READ, 1, 0x12345678, length=0x100): "02 01 0001 78563412",
    Request(Opcode.WRITE, 2, 0x40, b"\x7e\x7d\x5e\x5d"): "03 02 0400 40000000 7e7d5e5d",
    Request(Opcode.PEEK, 254, 4, length=4): "04 fe 0400 04000000",
    Request(Opcode.POKE, 255, 0x100, b"\1\0\0\0"): "05 ff 0400 00010000 01000000",
}


def contents(data):
    line = Unstuffer()
    return [content for content in map(line.push, data) if content is not None]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: Opcode(one.opcode).name)
def test_requests_are_the_bytes_written_out(request_):
    content = bytes.fromhex(REQUESTS[request_])
    content += zlib.crc32(content).to_bytes(4, "little")
    plain = content.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    assert request_.encode() == b"\x7e" + plain + b"\x7e"
    assert Request.decode(content) == request_


def test_a_response_is_the_bytes_written_out():
    content = bytes.fromhex("07 20 0300 616263")
    frame = b"\x7e" + content + zlib.crc32(content).to_bytes(4, "little") + b"\x7e"
    assert Response(Status.BAD_ADDRESS, 0x20, b"abc").encode() == frame
    assert Response.decode(frame[1:-1]) == Response(Status.BAD_ADDRESS, 0x20, b"abc")


def test_the_check_is_crc_32():
    assert check(b"123456789") == bytes.fromhex("2639f4cb")


def test_content_comes_back_whatever_is_in_it():
    every = bytes(range(256))
    assert contents(stuffed(every) + stuffed(b"~}") + b"\x7e\x7e") == [every, b"~}"]
    assert b"\x7e" not in stuffed(every)[1:-1]


def test_frames_may_share_a_flag():
    assert contents(b"\x7eab\x7ecd\x7e") == [b"ab", b"cd"]


def test_no_single_flipped_bit_leaves_a_response_right():
    frame = Response(Status.FINE, 5, bytes(range(100, 140))).encode()
    for at in range(1, len(frame) - 1):
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[at] ^= 1 << bit
            for content in contents(damaged):
                with pytest.raises(ValueError, match="of a response must be|a response must have"):
                    Response.decode(content)


@pytest.mark.parametrize(("content", "message"), [
    (b"1234567", "a response must have 8 bytes or more, not 7"),
    (bytes(8), "the check of a response must be 1cdf4421, not 00000000"),
    (bytes.fromhex("00000100") + check(bytes.fromhex("00000100")),
     "the length of a response must be 0, not 1"),
])
def test_what_is_no_response_is_refused(content, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Response.decode(content)


def test_status_and_length_fit_their_fields():
    assert max(Status) < 16
    assert BLOCK < 1 << 16
    assert not FAULTS & {Status.FINE, Status.MEMORY_ERROR}

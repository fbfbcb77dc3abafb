"""The self-test of a board: every byte that the design must print.

The units run one after another, each on the operands of :mod:`golden.selftest.stations`, and the
results of each are folded into a 32-bit signature (:func:`compress`). No single wrong result,
whichever it is, leaves the signature unchanged: the fold is a bijection of the signature and of the
result. The design carries the signatures computed here and compares them itself; :func:`script` is
the program of its printer, :func:`report` the text that a terminal must show.
"""

from ..common.config import AcceleratorConfig
from .pattern import MASK, WORD_BITS
from .stations import CHECKS, checks

_POLYNOMIAL = 0x04C11DB7  # CRC-32

# Commands of the printer; any other byte is printed.
RUN = 0x80  # run the next unit and keep its signature
SIGNATURE = 0x81  # print the signature, 8 hexadecimal digits
VERDICT = 0x82  # print PASS or FAIL for the unit run last
RESULT = 0x83  # print PASS or FAIL for all units
REPEAT = 0x84  # wait, then start over
PASS, FAIL = b"PASS", b"FAIL"


def compress(signature, result):
    """Return the 32-bit `signature` with one more result, taken modulo 2**32, folded in.

    Works on Python integers and, truncated to 32 bits, on Amaranth values.
    """
    carry = -(signature >> (WORD_BITS - 1)) & _POLYNOMIAL
    return ((signature << 1) & MASK) ^ carry ^ (result & MASK)


def signature(results: tuple[int, ...]) -> int:
    """Return the signature of the results of a unit."""
    folded = MASK
    for result in results:
        folded = compress(folded, result)
    return folded


def script(config: AcceleratorConfig) -> bytes:
    """Return the printer's program: text and commands."""
    width = max(map(len, CHECKS))
    title = f"vernier self-test, array {config.rows}x{config.cols}, lanes {config.lanes}"
    lines = [title.encode()]
    lines += [f"{name:{width}} ".encode() + bytes([RUN, SIGNATURE]) + b" " + bytes([VERDICT])
              for name in CHECKS]
    lines += ["result".ljust(width + len(" 01234567 ")).encode() + bytes([RESULT])]
    return b"\r\n".join([b"", *lines, bytes([REPEAT])])


def report(config: AcceleratorConfig) -> str:
    """Return the text of one round of a design whose units all work."""
    waiting = iter(checks(config))
    text = bytearray()
    for byte in script(config):
        if byte == RUN:
            check = next(waiting)
        elif byte == SIGNATURE:
            text += f"{signature(check.results):08X}".encode()
        elif byte in {VERDICT, RESULT}:
            text += PASS
        elif byte != REPEAT:
            text.append(byte)
    return text.decode()

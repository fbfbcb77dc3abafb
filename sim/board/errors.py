"""What goes wrong between a host and a board; every message is one line."""

import os

from golden.soc.link import Opcode, Status

from ..cli import UserError, one_line

REASONS = {
    Status.UNKNOWN_OPCODE: "it does not know this request",
    Status.BAD_LENGTH: "this is no length that it takes",
    Status.BAD_ADDRESS: "there is nothing at this address",
    Status.REFUSED: "this cannot be written, or not now",
    Status.MEMORY_ERROR: "its memory has an error",
}


class LinkError(UserError):
    """The link to a board, or the board, does not do what it should."""


class NoAnswer(LinkError):
    """Nothing comes back."""

    def __init__(self, tries: int):
        super().__init__(f"the board does not answer ({tries} tries); is it the right port, at the "
                         "right rate?")


class CrcError(LinkError):
    """What comes back, or what arrives at the board, is damaged again and again."""

    def __init__(self, what: str, tries: int):
        super().__init__(f"the line damages what is sent ({tries} tries): {what}")


class PortGone(LinkError):
    """The port cannot be opened or used any more."""

    def __init__(self, what: str, error: Exception):
        number = getattr(error, "errno", None)  # pyserial's messages say it twice
        super().__init__(f"{what}: {os.strerror(number) if number else one_line(str(error))}")


class Refused(LinkError):
    """The board has understood a request, and does not carry it out.

    Attributes
    ----------
    status
        Its :class:`golden.soc.link.Status`.
    """

    def __init__(self, opcode: int, address: int, status: int):
        self.status = Status(status)
        super().__init__(f"the board refuses to {Opcode(opcode).name.lower()} at {address:#x}: "
                         f"{REASONS[self.status]}")


class WrongVersion(LinkError):
    """What answers is no board that this program knows."""


class WrongMemory(LinkError):
    """Memory does not hold what was written.

    Attributes
    ----------
    address
        Of the first byte that differs.
    """

    def __init__(self, address: int, found: int, wanted: int):
        self.address = address
        super().__init__(f"memory at {address:#x} must hold {wanted:#04x}, not {found:#04x}")


class WrongCore(LinkError):
    """A program is for another core than the board's, or needs more memory than it has."""


class RunFailed(LinkError):
    """A run has ended with an error, or does not end.

    Attributes
    ----------
    index
        Instructions that were carried out.
    """

    def __init__(self, index: int, what: str, why: str):
        self.index = index
        super().__init__(f"instruction {index}{what}: {why}")

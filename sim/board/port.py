"""Serial ports."""

import contextlib

from golden.soc.boards import BAUD

from .errors import PortGone

TIME = 0.25  # seconds after which nothing comes any more


def open_port(name: str, baud: int = BAUD, time: float = TIME):
    """Open a serial port, or what pyserial takes for one, such as ``socket://host:port``; `time` is
    how many seconds its reads wait.

    Raises
    ------
    PortGone
        If it cannot be opened.
    """
    import serial

    try:
        port = serial.serial_for_url(name, baudrate=baud, timeout=time)
    except (OSError, ValueError, OverflowError) as error:
        raise PortGone(f"cannot open {name}", error) from None
    with contextlib.suppress(AttributeError, OSError, ValueError, NotImplementedError):
        port.set_low_latency_mode(True)  # USB bridges send at once
    return port

"""What a core has no room or no means for."""

from golden.common.config import AcceleratorConfig
from golden.network.network import Network
from golden.network.shape import VitShape


class DoesNotFit(ValueError):
    """A network that a core has no room or no means for.

    Attributes
    ----------
    sram_kib : int or None
        The scratchpad that would do, if that is all.
    phase : str
        Of a plan, the part in which there is no room, like :attr:`Matrix.phase`; may be empty.
    """

    def __init__(self, message: str, sram_kib: int | None = None, phase: str = ""):
        super().__init__(message)
        self.sram_kib, self.phase = sram_kib, phase


def pixel_bytes(shape: VitShape, config: AcceleratorConfig) -> int:
    """Return the bytes of a pixel in external memory: its colours, and a fourth one of zero where
    the rows of patches would not begin at words of the bus otherwise.
    """
    return 4 if 3 * shape.patch % config.bus_bytes else 3


def check(network: Network, config: AcceleratorConfig, jit: bool) -> None:
    """Raise :exc:`DoesNotFit` for what no placement can mend."""
    shape = network.shape
    pixel = pixel_bytes(shape, config)
    keys, hidden, rows, taken = (parts[0].stop for parts in (
        shape.key_parts, shape.hidden_parts, shape.patch_parts, shape.classified_parts))
    limits = (("tokens", shape.tokens, "max_tokens"),
              ("keys mixed at once", keys, "key_words"),
              ("channels of a head", shape.head_dim, "key_words"),
              ("dim", shape.dim, "max_channels"),
              ("hidden channels at once", hidden, "max_k"),
              ("values of a patch at once", pixel * rows // 3, "max_k"),
              ("values that the head takes at once", taken, "max_k"))
    multiples = (("dim", shape.dim, "lanes", config.lanes),
                 ("channels of a head", shape.head_dim, "2", 2),
                 ("bytes in a row of a patch", pixel * shape.patch, "bus_bytes", config.bus_bytes))
    for what, value, name in limits:
        if value > getattr(config, name):
            raise DoesNotFit(f"{what} must be {getattr(config, name)} ({name}) or fewer, not "
                             f"{value}")
    if jit:
        multiples += (("channels of a head", shape.head_dim, "lanes", config.lanes),)
    for what, value, name, unit in multiples:
        if value % unit:
            raise DoesNotFit(f"{what} must be a multiple of {unit} ({name}), not {value}")

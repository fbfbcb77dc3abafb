"""What a core has no room or no means for."""

from itertools import count

from golden.common.config import AcceleratorConfig
from golden.network.network import Network
from golden.network.shape import MERGED, VitShape


class DoesNotFit(ValueError):
    """A network that a core has no room or no means for.

    Attributes
    ----------
    sram_kib : int or None
        The scratchpad that would do, if that is all.
    phase : str
        Of a plan, the part in which there is no room, like :attr:`Matrix.phase`; may be empty.
    name : str
        Of the matrix that has no room in the scratchpad; may be empty.
    """

    def __init__(self, message: str, sram_kib: int | None = None, phase: str = "", name: str = ""):
        super().__init__(message)
        self.sram_kib, self.phase, self.name = sram_kib, phase, name


def too_small(config: AcceleratorConfig, sram_kib: int, name: str, phase: str = "") -> DoesNotFit:
    """Return that the scratchpad must be of another size."""
    return DoesNotFit(f"the scratchpad must have {sram_kib} KiB for this network, and has "
                      f"{config.sram_kib}: {sram_kib - config.sram_kib} KiB are missing for {name} "
                      "beside what else is needed then", sram_kib, phase, name)


def pixel_bytes(shape: VitShape, config: AcceleratorConfig) -> int:
    """Return the bytes of a pixel in external memory: its colours, and as few of zero behind them
    as have the rows of patches begin at words of the bus.
    """
    return next(size for size in count(shape.colours)
                if size * shape.patch % config.bus_bytes == 0)


def check(network: Network, config: AcceleratorConfig, jit: bool) -> None:
    """Raise :exc:`DoesNotFit` for what no placement can mend."""
    shape = network.shape
    if jit and not shape.classified:
        raise DoesNotFit("scales that are measured just in time are for networks with a token "
                         "before the patches that is classified")
    pixel = pixel_bytes(shape, config)
    rows, taken = (parts[0].stop for parts in (shape.patch_parts, shape.classified_parts))
    limits = (("values of a patch at once", pixel * rows // shape.colours, "max_k"),
              ("values that the head takes at once", taken, "max_k"),
              ("tokens of which the mean is taken",
               0 if shape.classified else shape.blocks[-1].grid**2, "key_words"))
    for sizes in shape.blocks:
        limits += (("tokens", sizes.keys, "max_tokens"),
                   ("keys mixed at once", sizes.key_parts[0].stop, "key_words"),
                   ("channels of a head", sizes.head_dim, "key_words"),
                   ("dim", sizes.dim, "max_channels"),
                   ("hidden channels at once", sizes.hidden_parts[0].stop, "max_k"))
    for block in shape.merges:
        limits += (("channels of merged patches", MERGED * shape.blocks[block - 1].dim,
                    "max_channels"),)
    multiples = (("dim", shape.dim, "lanes", config.lanes),
                 ("channels of a head", shape.head_dim, "2", 2))
    for what, value, name in limits:
        if value > getattr(config, name):
            raise DoesNotFit(f"{what} must be {getattr(config, name)} ({name}) or fewer, not "
                             f"{value}")
    if jit:
        multiples += (("channels of a head", shape.head_dim, "lanes", config.lanes),)
    if any(block.q_norm or block.k_norm for block in network.blocks):
        multiples += (("channels of a head that is normalised", shape.head_dim, "lanes",
                       config.lanes),)
    for what, value, name, unit in multiples:
        if value % unit:
            raise DoesNotFit(f"{what} must be a multiple of {unit} ({name}), not {value}")

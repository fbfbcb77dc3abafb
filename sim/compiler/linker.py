"""The program out of what was built: encoded instructions, a memory image, where what lies."""

from collections.abc import Iterator

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.core import isa
from golden.core.isa import Layout
from golden.core.program import Program, Region, Tensor, align
from golden.core.rules import operand_layout
from golden.memory.scratchpad import stride_of, words_of
from golden.network.network import Network

from .builder import Builder, Matrix, Step
from .limits import DoesNotFit, pixel_bytes
from .plan import Plan
from .windows.constants import constants, region_sizes

_PAGE = 64  # parts of external memory begin at multiples of it


def reserve(network: Network, config: AcceleratorConfig, plan: Plan,
            beside: dict[str, Region] | None = None) -> dict[str, Region]:
    """Return the parts of external memory before the stream, by name: image, logits, embedding,
    what a plan stores, what networks in windows have, and constants.

    If they are `beside` those of another network, image and logits are the same, and the others
    come behind.
    """
    shape = network.shape
    regions = {name: beside[name] for name in ("image", "logits")} if beside else {}
    end = _end(beside or {})
    sizes = {"image": pixel_bytes(shape, config) * shape.image**2,
             "logits": -(-shape.classes // config.lanes) * config.word_bytes,
             "embedding": shape.tokens * stride_of(Layout.WIDE, shape.tokens, shape.dim, config)
             * config.word_bytes}
    stored = {"residual": sizes["embedding"], "heads": _operands(network, "proj", config),
              "normed": _operands(network, "qkv", config)}
    sizes |= {name: stored[name] for name in plan.stored}
    if shape.in_windows:
        sizes |= region_sizes(network, config)
    sizes |= {name: len(data) for name, data in constants(network, config).items()}
    for name, size in sizes.items():
        if name not in regions:
            regions[name] = Region(end, size)
            end += _paged(size)
    return regions


def _operands(network: Network, layer: str, config: AcceleratorConfig) -> int:
    """Return the bytes of what enters a layer, of the block that has most."""
    shape, sizes = network.shape, []
    for layout in {operand_layout(network.precision.of(block, layer).mode)
                   for block in range(shape.depth)}:
        stride = stride_of(layout, shape.tokens, shape.dim, config)
        sizes.append(words_of(layout, shape.tokens, shape.dim, stride, config))
    return max(sizes) * config.word_bytes


def link(build: Builder, networks: list[tuple[Network, dict[str, Region]]],
         about: dict) -> Program:
    """Return the program of steps whose matrices have their addresses.

    Parameters
    ----------
    build
        The steps and matrices.
    networks
        Whose program it is, with what :func:`reserve` returned for each.
    about
        JSON values that the program is to keep.
    """
    config, (network, regions) = build.config, networks[0]
    shape = network.shape
    stream = b"".join(_encoded(step, config) for step in build.steps)
    end = max(_end(each) for _, each in networks)
    memory = bytearray(end)
    for one, each in networks:
        place = each["embedding"]
        memory[place.address:place.address + place.size] = _embedding(one, config)
        for name, data in constants(one, config).items():
            place = each[name]
            memory[place.address:place.address + place.size] = data
    memory += stream.ljust(_paged(len(stream)), b"\0")
    return Program(
        config=config, memory=bytes(memory), stream=Region(end, len(stream)),
        image=regions["image"], logits=regions["logits"], side=shape.image, classes=shape.classes,
        logit_point=network.logit_point, tensors=tuple(_tensors(build.matrices)), about=about,
        colours=shape.colours)


def _end(regions: dict[str, Region]) -> int:
    """Return the first page behind regions."""
    return max((region.address + _paged(region.size) for region in regions.values()), default=0)


def _paged(size: int) -> int:
    """Return `size` rounded up to whole pages."""
    return -(-size // _PAGE) * _PAGE


def _embedding(network: Network, config: AcceleratorConfig) -> bytes:
    """Return what is added to the tokens, as LOAD takes it; that before the patches, which has a
    row of zeros in the product, gets no bias.
    """
    values = network.embedding.astype(np.int64)
    if network.shape.prefix:
        last = values[network.shape.prefix - 1]
        last -= network.patch.bias
        if not (last >= ACT16.min).all() or not (last <= ACT16.max).all():
            raise DoesNotFit("the token before the patches less the bias of the patch embedding "
                             "must fit 16 bits")
    stride = stride_of(Layout.WIDE, *values.shape, config)
    padded = np.zeros((len(values), stride * config.lanes), "<i2")
    padded[:, :values.shape[1]] = values
    return padded.tobytes()


def _encoded(step: Step, config: AcceleratorConfig) -> bytes:
    places = {name: matrix.address + offset for name, (matrix, offset) in step.places.items()}
    code = isa.make(step.opcode, **step.fields, **places).encode()
    return code.ljust(align(len(code), config), b"\0") + step.payload


def _tensors(matrices: list[Matrix]) -> Iterator[Tensor]:
    for matrix in matrices:
        for version in matrix.versions or [matrix]:
            yield Tensor(version.name, matrix.address, matrix.stride, matrix.layout, matrix.rows,
                         matrix.cols, matrix.signed, version.first, version.written, version.last)

"""A program of the core: one image of external memory, and what is known about it.

A directory with two files: ``memory.bin``, the bytes of external memory from address 0 on, and
``program.json``, everything else. :class:`golden.core.machine.Machine` runs it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.files import write_folder
from ..common.formats import MOST_COLOURS, UINT8
from ..memory.scratchpad import words_of
from . import isa
from .isa import INSTRUCTION_BYTES, UNIT_BYTES, Instruction, Layout, Opcode, Source

FORMAT = "vernier-program"
VERSION = isa.ENCODING
MEMORY, ABOUT = "memory.bin", "program.json"


class ProgramError(ValueError):
    """A program that cannot be run: says which instruction, and why."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of external memory, in bytes."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A matrix in the scratchpad while it is alive.

    Attributes
    ----------
    name
        Like ``3.fc1``; attention has one per head, like ``3.scores.0``.
    address, stride, layout, rows, cols
        As :mod:`golden.memory.scratchpad` takes them.
    signed
        Whether its elements are.
    first, written, last
        Indexes of the first and the last instruction that write it, and the last that needs it.
    """

    name: str
    address: int
    stride: int
    layout: Layout
    rows: int
    cols: int
    signed: bool
    first: int
    written: int
    last: int

    def words(self, config: AcceleratorConfig) -> int:
        """Words from its address to its end."""
        return words_of(self.layout, self.rows, self.cols, self.stride, config)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Everything that a core needs to run a network, but for the image.

    Attributes
    ----------
    config
        The core it is compiled for.
    memory
        Bytes of external memory from address 0 on; zero where the image and the logits go.
    stream
        Where the instructions with their payloads are.
    image, logits
        Where the pixels go, :attr:`pixel_bytes` each, and where the logits are found.
    side, classes, logit_point
        Pixels along a side of the image, number of logits and their fractional bits.
    tensors
        What lies in the scratchpad when.
    about
        Whatever else is known, as JSON values: ``model``, ``classes``, ``bits``, ...
    colours
        Bytes of a pixel as an image file has it.
    """

    config: AcceleratorConfig
    memory: bytes
    stream: Region
    image: Region
    logits: Region
    side: int
    classes: int
    logit_point: int
    tensors: tuple[Tensor, ...]
    about: dict
    colours: int = 3

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in memory: its colours, and behind them as many bytes of zero as the
        image's region has room for.
        """
        return self.image.size // self.side**2

    @property
    def scratchpad_bytes(self) -> int:
        """Bytes of the scratchpad up to the end of the last tensor."""
        return self.config.word_bytes * max(
            (tensor.address + tensor.words(self.config) for tensor in self.tensors), default=0)

    def with_image(self, pixels) -> np.ndarray:
        """Return external memory with an image in it, uint8.

        `pixels` is uint8 (side, side, colours), as :meth:`golden.network.vit.Vit.run` takes them.
        """
        pixels = integers("pixels", pixels, UINT8.min, UINT8.max, dtype=np.uint8,
                          shape=(self.side, self.side, self.colours))
        memory = np.frombuffer(self.memory, np.uint8).copy()
        size = self.pixel_bytes * self.side**2
        place = memory[self.image.address:self.image.address + size]
        place.reshape(-1, self.pixel_bytes)[:, :self.colours] = pixels.reshape(-1, self.colours)
        return memory

    def instructions(self) -> list[tuple[int, Instruction]]:
        """Return the byte address of each instruction, and the instruction.

        Raises
        ------
        ProgramError
            If one is no instruction, or the stream ends without END.
        """
        return list(walk(self.memory, self.stream, self.config))

    def disassemble(self) -> Iterator[str]:
        """Yield one line per instruction: index, address, and what it does."""
        for index, (address, instruction) in enumerate(self.instructions()):
            yield f"{index:4} {address:08x}  {instruction}"

    def save(self, folder: Path) -> None:
        """Write the two files of a program into a directory, which is made; or nothing at all.

        Raises
        ------
        OSError
            If they cannot be written: a program that was there before is still there.
        """
        about = {"format": FORMAT, "version": VERSION,
                 "sha256": hashlib.sha256(self.memory).hexdigest(),
                 "config": asdict(self.config),
                 **{name: asdict(getattr(self, name)) for name in ("stream", "image", "logits")},
                 **{name: getattr(self, name) for name in (
                     "side", "colours", "classes", "logit_point")},
                 "tensors": [asdict(tensor) for tensor in self.tensors], "about": self.about}
        write_folder(Path(folder), {MEMORY: self.memory,
                                    ABOUT: (json.dumps(about, indent=1) + "\n").encode()})


def load(folder: Path) -> Program:
    """Read a program.

    Raises
    ------
    OSError
        If a file cannot be read.
    ProgramError
        If it is no program, one of another version, or damaged.
    """
    folder = Path(folder)
    memory = (folder / MEMORY).read_bytes()
    try:
        about = json.loads((folder / ABOUT).read_text())
        if about["format"] != FORMAT:
            raise ValueError("it is something else")
        if about["version"] != VERSION:
            raise ProgramError(f"{folder} has version {about['version']} of the format, and this "
                               f"program reads version {VERSION}; compile it again")
        if about["sha256"] != hashlib.sha256(memory).hexdigest():
            raise ValueError(f"the checksum of {MEMORY} is wrong")
        program = Program(
            config=AcceleratorConfig(**about["config"]), memory=memory,
            **{name: Region(**about[name]) for name in ("stream", "image", "logits")},
            **{name: about[name] for name in ("side", "classes", "logit_point")},
            colours=about.get("colours", 3),
            tensors=tuple(Tensor(**{**tensor, "layout": Layout(tensor["layout"])})
                          for tensor in about["tensors"]),
            about=about["about"])
        _check_manifest(program)
    except ProgramError:
        raise
    except KeyError as error:
        raise ProgramError(f"{folder} is not a program, or is damaged: {ABOUT} lacks "
                           f"{error}") from None
    except RecursionError:
        raise ProgramError(f"{folder} is not a program, or is damaged: {ABOUT} is nested too "
                           "deep") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ProgramError(f"{folder} is not a program, or is damaged: {error}") from None
    return program


def _check_manifest(program: Program) -> None:
    """Raise :exc:`TypeError` or :exc:`ValueError` where what is said of a program makes no sense.

    What its instructions do is another matter: :func:`golden.core.rules.verify`.
    """
    config = program.config
    config.check_core()
    for name in ("stream", "image", "logits"):
        region = getattr(program, name)
        check_range(name, region.address, integer(f"size of {name}", region.size, 0),
                    len(program.memory))
    pixel = integer("colours", program.colours, 1, MOST_COLOURS)
    pixels = integer("side", program.side, 1) ** 2
    logits = 2 * integer("classes", program.classes, 1)
    for name, count, region in (("side", pixel * pixels, program.image),
                                ("classes", logits, program.logits)):
        if count > region.size:
            raise ValueError(f"{name} must be such that {count} bytes fit {region.size}, but it is "
                             f"{getattr(program, name)}")
    if program.logits.size % 2:
        raise ValueError(f"size of logits must be a multiple of 2 bytes, not {program.logits.size}")
    integer("logit_point", program.logit_point, -64, 64)
    if not isinstance(program.about, dict):
        raise TypeError(f"about must be an object, not {program.about!r}")
    for tensor in program.tensors:
        for name, kind in (("name", str), ("signed", bool)):
            if type(getattr(tensor, name)) is not kind:
                raise TypeError(f"{name} of a tensor must be a {kind.__name__}, not "
                                f"{getattr(tensor, name)!r}")
        where = f"tensor {tensor.name!r}: "
        for name in ("rows", "cols", "stride"):
            integer(where + name, getattr(tensor, name), 1)
        for name in ("first", "written", "last"):
            integer(where + name, getattr(tensor, name), 0)
        check_range(where + "address", tensor.address, tensor.words(config),
                    config.scratchpad_words)


def walk(memory, stream: Region, config: AcceleratorConfig) -> Iterator[tuple[int, Instruction]]:
    """Yield address and instruction, one after the other, up to END."""
    address, index = stream.address, 0
    while True:
        where = f"instruction {index} at 0x{address:x}"
        data = bytes(memory[address:address + INSTRUCTION_BYTES])
        if address + INSTRUCTION_BYTES > stream.address + stream.size:
            raise ProgramError(f"{where}: the stream has ended without END")
        try:
            instruction = isa.decode(data)
            size = payload_bytes(instruction, config)
        except ValueError as error:
            raise ProgramError(f"{where}: {error}") from None
        yield address, instruction
        if instruction.opcode is Opcode.END:
            return
        address += align(INSTRUCTION_BYTES, config) + size
        index += 1


def patch_places(op: Instruction, step: int = 1) -> np.ndarray:
    """Return where a PATCHES finds the bytes of its patches, every `step`-th of them: addresses,
    shape ``(m - 1, k / step)``, in the order in which they are read.
    """
    patch, byte = np.arange(op.m - 1)[:, None], np.arange(0, op.k, step)
    return (op.address + patch // op.grid * op.patch_row_bytes + patch % op.grid * op.run_bytes
            + byte // op.run_bytes * op.image_row_bytes + byte % op.run_bytes)


def align(size: int, config: AcceleratorConfig) -> int:
    """Return the bytes of whole stream words that hold `size` bytes."""
    return -(-size // config.cols) * config.cols


def units_of(instruction: Instruction, config: AcceleratorConfig) -> tuple[int, ...]:
    """Return the units in each part of a payload, weights left out.

    A product has a part of columns for each tile column.
    """
    op, opcode = instruction, instruction.opcode
    if opcode is Opcode.SCALES:
        return (-(-op.n // len(isa.SCALES)),)
    if opcode is Opcode.TABLE:
        return (-(-op.n // len(isa.TABLE)),)
    if opcode is Opcode.NORM:
        return (op.n,)
    if opcode is Opcode.SOFTMAX:
        return (isa.CODEBOOK_UNITS,) if op.step else ()
    if opcode in isa.GOLDEN_ONLY:
        return (op.words,) if op.words else ()
    if opcode is Opcode.PREDICT:
        return (-(-op.statistics // isa.PAIRS), op.words)
    if opcode is Opcode.GEMM and op.weights == Source.STREAM:
        cols = config.tile_cols(op.mode_of)
        return (cols,) * -(-op.n // cols)
    return ()


def payload_bytes(instruction: Instruction, config: AcceleratorConfig) -> int:
    """Return the bytes of an instruction's payload, whole words."""
    units = units_of(instruction, config)
    size = sum(align(UNIT_BYTES * count, config) for count in units)
    if instruction.opcode is Opcode.GEMM:
        size += len(units) * instruction.k * config.cols
    return size


def tile_column_words(instruction: Instruction) -> int:
    """Return the stream words of one tile column of a product: its columns, then its weights."""
    return isa.header_words(instruction.mode_of) + instruction.k


def check_range(name: str, address: int, size: int, limit: int) -> None:
    """Raise :exc:`ValueError` unless ``address .. address + size`` lies below `limit`."""
    integer(name, address, 0)
    if address + size > limit:
        raise ValueError(f"{name} must end at 0x{limit:x} or before, but 0x{address:x} and "
                         f"{size} more is 0x{address + size:x}")

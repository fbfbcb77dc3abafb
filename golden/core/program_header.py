"""A C header of a program: what the driver in C has to know besides the bytes of memory."""

from dataclasses import astuple

from .isa import ENCODING
from .program import Program

NAME = "VERNIER_PROGRAM"


def c_header(program: Program) -> str:
    """Return the header: a constant :data:`NAME` of the driver's type for programs."""
    image = program.colours * program.side**2
    members = {
        "config": "{" + ", ".join(map(str, astuple(program.config))) + "}",
        "encoding": ENCODING, "memory_bytes": len(program.memory),
        "stream": f"0x{program.stream.address:x}", "stream_bytes": program.stream.size,
        "image": f"0x{program.image.address:x}", "image_bytes": image,
        "colours": program.colours, "pixel_bytes": program.pixel_bytes,
        "logits": f"0x{program.logits.address:x}", "classes": program.classes,
        "image_space": program.image.size, "logits_space": program.logits.size,
        "logit_point": program.logit_point,
    }
    return "\n".join([
        "/* A program of a Vernier core: where everything is in its memory.bin. */",
        "#ifndef VERNIER_PROGRAM_H", "#define VERNIER_PROGRAM_H", "", '#include "vernier.h"', "",
        f"static const struct vernier_program {NAME} = {{",
        *(f"    .{name} = {value}," for name, value in members.items()), "};", "", "#endif", ""])

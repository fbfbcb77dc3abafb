"""The registers for others: a C header, a Python file, a CMSIS-SVD file and a table of the
documents.

All of them say what :data:`.registers.REGISTERS` says. ``docs/registers.md`` is what
:func:`markdown` gives.
"""

from dataclasses import asdict
from xml.etree import ElementTree

from .registers import (
    IDENTITY,
    REGISTERS,
    SPACE_BITS,
    VERSION,
    WORD_BITS,
    WORD_BYTES,
    Access,
    ErrorSource,
    Field,
    Register,
    RegisterFile,
)
from .system import System

PREFIX = "VERNIER_"
LICENCE = "SPDX-License-Identifier: Apache-2.0"

FILES = {
    "vernier_registers.h": lambda system: c_header(),
    "vernier_registers.py": lambda system: python(system),
    "vernier.svd": lambda system: svd(system),
    "registers.md": lambda system: markdown(),
}
"""What each file holds, for a :class:`.system.System`."""

_CONFIG = [name for name in REGISTERS if name.startswith("CONFIG_")]
_CONFIG_SAID = "The registers of the configuration lie one behind the other."


def c_header() -> str:
    """Return a C header: of each register its offset, of each field its shift and mask."""
    lines = [f"/* Registers of a Vernier core, version {VERSION}. {LICENCE} */",
             "#ifndef VERNIER_REGISTERS_H", "#define VERNIER_REGISTERS_H", "",
             f"#define {PREFIX}IDENTITY 0x{IDENTITY:08x}u",
             f"#define {PREFIX}TABLE_VERSION {VERSION}u", "",
             f"/* {_CONFIG_SAID} */",
             f"#define {PREFIX}CONFIG_FIRST 0x{REGISTERS[_CONFIG[0]].address:03x}u",
             f"#define {PREFIX}CONFIG_COUNT {len(_CONFIG)}u", ""]
    for register in REGISTERS.values():
        lines += [f"/* {register.access.value}: {register.doc} */",
                  f"#define {PREFIX}{register.name} 0x{register.address:03x}u"]
        for field in register.fields:
            name = f"{PREFIX}{register.name}_{field.name.upper()}"
            lines += [f"#define {name}_SHIFT {field.low}u  /* {field.doc} */",
                      f"#define {name}_MASK 0x{field.mask:08x}u"]
    lines += ["", *(f"#define {PREFIX}ERROR_SOURCE_IS_{one.name} {one.value}u"
                    for one in ErrorSource)]
    return "\n".join([*lines, "", "#endif", ""])


def python(system: System) -> str:
    """Return a Python file: the registers, and what is known about one core."""
    lines = [f'"""Registers of a Vernier core, version {VERSION}, and one core. {LICENCE}"""', "",
             f"IDENTITY = 0x{IDENTITY:08x}", f"VERSION = {VERSION}", "", "ADDRESSES = {",
             *(f'    "{one.name}": 0x{one.address:03x},' for one in REGISTERS.values()), "}",
             '"""Of the registers, by their names."""', "", "MASKS = {",
             *(f'    ("{one.name}", "{field.name}"): 0x{field.mask:08x},'
               for one in REGISTERS.values() for field in one.fields), "}",
             '"""Of the fields of registers."""', "", "CONFIG = {",
             *(f'    "{name}": {value},' for name, value in asdict(system.config).items()), "}",
             '"""Of this core."""', "", f"CLOCK_HZ = {system.clock_hz}",
             '"""Of this core; 0 if not known."""', "", f"ADDRESS_BITS = {system.address_bits}",
             '"""Of the bus that its memory is on."""', ""]
    return "\n".join(lines)


_SVD_ACCESS = {Access.READ: "read-only", Access.WRITE: "read-write", Access.COMMAND: "write-only",
               Access.CLEAR: "read-write"}


def svd(system: System) -> str:
    """Return a CMSIS-SVD file (1.3) of one core, at address 0, with the values after a reset."""
    file = RegisterFile(system)
    device = ElementTree.Element("device", {
        "schemaVersion": "1.3", "xmlns:xs": "http://www.w3.org/2001/XMLSchema-instance",
        "xs:noNamespaceSchemaLocation": "CMSIS-SVD.xsd"})
    _texts(device, vendor="Vernier", name="VERNIER", version=VERSION,
           description="A core that runs Vision Transformers", addressUnitBits=8, width=WORD_BITS,
           size=WORD_BITS, resetValue="0x0", resetMask=hex((1 << WORD_BITS) - 1))
    peripheral = _inside(_inside(device, "peripherals"), "peripheral")
    _texts(peripheral, name="VERNIER", description="Its registers", baseAddress="0x0")
    _texts(_inside(peripheral, "addressBlock"), offset="0x0", size=hex(1 << SPACE_BITS),
           usage="registers")
    _texts(_inside(peripheral, "interrupt"), name="VERNIER", description="What is pending and "
           "enabled; its number is the system's", value=0)
    registers = _inside(peripheral, "registers")
    for register in REGISTERS.values():
        element = _inside(registers, "register")
        _texts(element, name=register.name, description=register.doc,
               addressOffset=hex(register.address), access=_SVD_ACCESS[register.access])
        if register.access is Access.CLEAR:
            _texts(element, modifiedWriteValues="oneToClear")
        _texts(element, resetValue=hex(file.read(register.address)[0]))
        if register.fields:
            _svd_fields(_inside(element, "fields"), register)
    ElementTree.indent(device)
    return ElementTree.tostring(device, encoding="unicode", xml_declaration=True) + "\n"


def _svd_fields(parent: ElementTree.Element, register: Register):
    for field in register.fields:
        _texts(_inside(parent, "field"), name=field.name.upper(), description=field.doc,
               bitOffset=field.low, bitWidth=field.bits)


def _inside(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, name)


def _texts(parent: ElementTree.Element, **texts):
    for name, text in texts.items():
        _inside(parent, name).text = str(text)


_PAGE = f"""\
# Registers

Version {VERSION} of the table, which is defined in `golden/soc/registers.py`: hardware, host
program, C header, SVD file and this page are made of it. A register has {WORD_BYTES} bytes, the low
one first; all of them lie within {1 << SPACE_BITS} bytes. ID, VERSION, CLOCK_HZ, MEMORY_BYTES,
ENCODING and CONFIG_* say what was built; the others are zero after a reset. The interrupt line is
high while a bit is set in both INTERRUPT_ENABLE and INTERRUPT_PENDING. A start may have several
images: then INDEX and counters are those of the last one, and all else is of the whole run."""


def markdown() -> str:
    """Return the page of the documents about the registers."""
    lines = [*_PAGE.splitlines(), "", "| offset | register | access | meaning |",
             "| ---: | --- | --- | --- |"]
    for register in REGISTERS.values():
        lines.append(f"| 0x{register.address:03x} | {register.name} | {register.access.value} | "
                     f"{register.doc} |")
        lines += [f"| | &nbsp;&nbsp;{field.name}, {_bits(field)} | | {field.doc} |"
                  for field in register.fields]
    return "\n".join([*lines, ""])


def _bits(field: Field) -> str:
    last = field.low + field.bits - 1
    return f"bit {last}" if field.bits == 1 else f"bits {last}..{field.low}"

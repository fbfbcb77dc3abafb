"""Files made of the registers, read with what others read them with."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from cmsis_svd.parser import SVDParser

from golden.common.config import CORES, AcceleratorConfig
from golden.soc.register_files import c_header, markdown, python, svd
from golden.soc.registers import IDENTITY, REGISTERS, Access, ErrorSource, RegisterFile
from golden.soc.system import System

SYSTEM = System(CORES["8x16"], 100_000_000, 1 << 31, 40)
PAGE = Path(__file__).parents[3] / "docs" / "registers.md"


def test_a_c_compiler_reads_the_header(tmp_path):
    header, source, binary = (tmp_path / name for name in ("vernier_registers.h", "main.c", "main"))
    header.write_text(c_header())
    names = re.findall(r"^#define (VERNIER_\w+) ", c_header(), re.MULTILINE)
    prints = "".join(f'printf("{name} %u\\n", {name});' for name in names)
    source.write_text("#include <stdio.h>\n#include \"vernier_registers.h\"\n"
                      "#include \"vernier_registers.h\"\n"
                      f"int main(void) {{ {prints} return 0; }}\n")
    subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", source, "-o",
                    binary], check=True)
    printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in map(str.split, printed.splitlines())}
    expected = {"IDENTITY": IDENTITY, "TABLE_VERSION": 5, "CONFIG_FIRST": 0x40,
                "CONFIG_COUNT": len(fields(AcceleratorConfig))}
    expected |= {f"ERROR_SOURCE_IS_{one.name}": one.value for one in ErrorSource}
    for register in REGISTERS.values():
        expected[register.name] = register.address
        for field in register.fields:
            name = f"{register.name}_{field.name.upper()}"
            expected |= {f"{name}_SHIFT": field.low, f"{name}_MASK": field.mask}
    assert found == {f"VERNIER_{name}": value for name, value in expected.items()}


def test_the_registers_of_the_configuration_lie_one_behind_the_other():
    names = [f"CONFIG_{one.name.upper()}" for one in fields(AcceleratorConfig)]
    assert [REGISTERS[name].address for name in names] == [
        0x40 + 4 * index for index in range(len(names))]


def test_python_reads_its_file():
    found = {}
    exec(compile(python(SYSTEM), "vernier_registers.py", "exec"), found)
    assert (found["IDENTITY"], found["VERSION"]) == (IDENTITY, 5)
    assert found["ADDRESSES"] == {name: one.address for name, one in REGISTERS.items()}
    assert found["MASKS"] == {(name, field.name): field.mask for name, one in REGISTERS.items()
                              for field in one.fields}
    assert AcceleratorConfig(**found["CONFIG"]) == SYSTEM.config
    assert (found["CLOCK_HZ"], found["ADDRESS_BITS"]) == (100_000_000, 40)


def test_a_parser_of_svd_files_reads_the_registers(tmp_path):
    path = tmp_path / "vernier.svd"
    path.write_text(svd(SYSTEM))
    (peripheral,) = SVDParser.for_xml_file(str(path)).get_device().peripherals
    assert [one.name for one in peripheral.interrupts] == ["VERNIER"]
    assert [one.name for one in peripheral.registers] == list(REGISTERS)
    file = RegisterFile(SYSTEM)
    for one in peripheral.registers:
        register = REGISTERS[one.name]
        assert (one.address_offset, one.size) == (register.address, 32)
        assert one.reset_value == file.read(register.address)[0]
        assert one.description == register.doc
        reads, writes = (word in one.access.value for word in ("read", "write"))
        assert (reads, writes) == (register.access is not Access.COMMAND,
                                   register.access is not Access.READ)
        clears = one.modified_write_values
        assert (clears is not None and clears.value == "oneToClear") == (
            register.access is Access.CLEAR)
        assert [(field.name, field.bit_offset, field.bit_width) for field in one.fields or []] == [
            (field.name.upper(), field.low, field.bits) for field in register.fields]


def test_the_page_of_the_documents_is_up_to_date():
    assert PAGE.read_text() == markdown(), (
        "write it again: python -c 'from golden.soc.register_files import markdown; "
        f"print(markdown(), end=\"\")' > {PAGE.name}")


@pytest.mark.parametrize("name", REGISTERS)
def test_the_page_has_every_register(name):
    assert f"| 0x{REGISTERS[name].address:03x} | {name} | {REGISTERS[name].access.value} |" in (
        markdown())

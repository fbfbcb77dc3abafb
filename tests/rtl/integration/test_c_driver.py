# amaranth: UnusedElaboratable=no

"""The C driver, compiled for this machine, on the RTL of exported cores."""

import subprocess
from pathlib import Path

import pytest

from golden.common.config import CORES
from golden.core.isa import Status
from golden.core.machine import Machine
from golden.core.program_header import c_header
from golden.cycles.timing import timing
from golden.soc.register_files import c_header as registers_header
from golden.soc.registers import ErrorSource
from rtl.export import main
from rtl.integration.drivers import drivers
from sim.compiler import compile_network
from sim.inputs.model_lookup import open_model
from tests.benches.verilate import SMALL, VERILATOR_ARGS
from tests.cases.networks import pixels

CORE = CORES["4x4"]
BENCHES = Path(__file__).parents[2] / "benches"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
RESULTS = ("OK", "NO_CORE", "OTHER_TABLE", "BAD_MEMORY", "OTHER_CONFIG", "TOO_LARGE", "NO_PROGRAM",
           "BUSY", "FAILED", "TIMEOUT")  # in the order of vernier.h
EXPECTED = {
    "elsewhere": "NO_CORE", "within_a_page": "BAD_MEMORY", "beyond_the_bus": "BAD_MEMORY",
    "too_much": "BAD_MEMORY", "small": "OK", "does_not_fit": "TOO_LARGE", "opened": "OK",
    "nothing_to_start": "NO_PROGRAM", "nothing_to_await": "NO_PROGRAM",
    "of_another_core": "OTHER_CONFIG", "not_loaded": "NO_PROGRAM", "loaded": "OK",
    "with_broken_memory": "FAILED", "started_twice": "BUSY", "loaded_while_busy": "BUSY",
    "opened_while_busy": "BUSY", "not_yet": "TIMEOUT", "waited": "OK",
}


@pytest.fixture(scope="module")
def shipped():
    """A program of the shipped model, an image, and the golden machine after it."""
    network = open_model("vit_cifar10:w4a4").network
    program, image = compile_network(network, CORE), pixels(1, network.shape)[0]
    machine = Machine(program, image)
    machine.run()
    return program, image, machine.logits


@pytest.fixture
def sources(shipped, tmp_path):
    """A directory with the driver, and a program for it."""
    for name, text in {**drivers("axi4"), "vernier_registers.h": registers_header(),
                       "vernier_program.h": c_header(shipped[0])}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def build(bus, out: Path) -> Path:
    """Compile driver and core; return the program that has both."""
    subprocess.run(["cc", *STRICT, "-O2", "-include", BENCHES / "driver_port.h", "-c", "vernier.c"],
                   cwd=out, check=True)
    command = ["verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial",
               "fast", *VERILATOR_ARGS, *SMALL, "-Wno-fatal", "-CFLAGS",
               f"-std=c++20 -O1 -I.. {'-DWISHBONE' if bus == 'wishbone' else ''}", "--prefix",
               "Vcore", "--top-module", f"vernier_{bus}", "-o", "main", f"vernier_{bus}.v",
               BENCHES / "driver_main.cpp", out / "vernier.o"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "obj_dir" / "main"


@pytest.mark.parametrize("options", [[], ["-DVERNIER_CLEAN(p,n)=(void)0"], ["-m32"]],
                         ids=["plain", "clean", "32 bits"])
def test_the_driver_compiles_as_it_is(options, sources):
    if options == ["-m32"] and subprocess.run(
            ["cc", "-m32", "-xc", "-fsyntax-only", "-"], input="#include <string.h>", text=True,
            capture_output=True, check=False).returncode:
        pytest.skip("there are no headers for 32 bits")
    subprocess.run(["cc", *STRICT, "-O2", *options, "-c", "vernier.c"], cwd=sources, check=True)
    names = subprocess.run(["nm", "--undefined-only", "vernier.o"], cwd=sources, check=True,
                           capture_output=True, text=True).stdout.split()
    assert set(names[1::2]) <= {"memcpy", "_GLOBAL_OFFSET_TABLE_"}
    (sources / "use.c").write_text('#include "vernier_program.h"\n#include "vernier_program.h"\n'
                                    "unsigned long use(void) { return sizeof VERNIER_PROGRAM; }\n")
    subprocess.run(["cc", *STRICT, *options, "-c", "use.c"], cwd=sources, check=True)


@pytest.mark.verilator
@pytest.mark.parametrize("bus", ["axi4", pytest.param("wishbone", marks=pytest.mark.long)])
def test_the_driver_runs_the_shipped_model(bus, shipped, sources):
    program, image, logits = shipped
    assert main(["--core", "4x4", "--bus", bus, "--address-bits", "40", "--out", str(sources)]) == 0
    (sources / "memory.bin").write_bytes(program.memory)
    (sources / "image.bin").write_bytes(image.tobytes())
    broken = program.stream.address + 0x404
    done = subprocess.run([build(bus, sources), "memory.bin", "image.bin", "6", "10", str(broken)],
                          cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {name: RESULTS[int(said[name])] for name in EXPECTED} == EXPECTED
    assert said["error"] == f"{Status.BUS_ERROR:d} {ErrorSource.STREAM:d} {broken}"
    assert said["logits"].split() == [str(one) for one in logits]
    least = sum(step.cycles for step in timing(program).steps)
    assert least <= int(said["cycles"]) < 1.05 * least

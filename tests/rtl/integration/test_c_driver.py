# amaranth: UnusedElaboratable=no

"""The C driver, compiled for this machine, on the RTL of exported cores."""

import subprocess
from pathlib import Path

import pytest

from golden.common.config import CORES
from golden.core.isa import Status
from golden.core.machine import Machine
from golden.core.program_header import c_header
from golden.cycles.memory_model import IDEAL, MemoryModel
from golden.cycles.timing import timing
from golden.network.precision import Precision
from golden.soc.register_files import c_header as registers_header
from golden.soc.registers import ErrorSource
from golden.soc.system import System
from rtl.export import bus_files
from rtl.integration.drivers import drivers
from sim.compiler import compile_network
from sim.harness.core_build import with_loops
from sim.inputs.model_lookup import open_model
from tests.benches.verilate import SMALL, VERILATOR_ARGS
from tests.cases.cores import SMALLEST
from tests.cases.networks import network, pixels

BENCHES = Path(__file__).parents[2] / "benches"
BUSES = "axi4", "wishbone"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
RESULTS = ("OK", "NO_CORE", "OTHER_TABLE", "BAD_MEMORY", "OTHER_ENCODING", "OTHER_CONFIG",
           "TOO_LARGE", "NO_PROGRAM", "BUSY", "FAILED", "TIMEOUT",
           "NO_PLACE")  # in the order of vernier.h
EXPECTED = {
    "elsewhere": "NO_CORE", "within_a_page": "BAD_MEMORY", "beyond_the_bus": "BAD_MEMORY",
    "too_much": "BAD_MEMORY", "small": "OK", "does_not_fit": "TOO_LARGE", "opened": "OK",
    "nothing_to_start": "NO_PROGRAM", "nothing_to_await": "NO_PROGRAM",
    "of_another_core": "OTHER_CONFIG", "of_another_encoding": "OTHER_ENCODING",
    "not_loaded": "NO_PROGRAM", "loaded": "OK",
    "with_broken_memory": "FAILED", "started_twice": "BUSY", "loaded_while_busy": "BUSY",
    "opened_while_busy": "BUSY", "not_yet": "TIMEOUT", "waited": "OK",
    "no_place": "NO_PLACE", "no_images": "NO_PLACE", "too_many": "NO_PLACE",
    "put_nowhere": "NO_PLACE", "read_nowhere": "NO_PLACE",
    "places_started_twice": "BUSY", "put_while_busy": "OK", "places_waited": "OK",
}


SLOWEST = MemoryModel(latency=40, bytes_per_cycle=2)
"""Slower than the memory of these tests, whatever it stalls."""


def ran(made, core):
    """A program of a network, an image, and the logits of the golden machine after it."""
    program, image = compile_network(made, core), pixels(1, made.shape)[0]
    machine = Machine(program, image)
    machine.run()
    return program, image, machine.logits


@pytest.fixture(scope="module")
def small():
    """A small network on a small core."""
    return ran(network(Precision(8, 8)), SMALLEST)


@pytest.fixture(scope="module")
def shipped():
    """The shipped model."""
    return ran(open_model("vit_cifar10:w4a4").network, CORES["4x4"])


def written(out, program):
    """Write the driver, and a program for it."""
    for name, text in {**drivers("axi4"), "vernier_registers.h": registers_header(),
                       "vernier_program.h": c_header(program)}.items():
        (out / name).write_text(text)


def build(bus, program, out: Path) -> Path:
    """Compile driver and core; return the program that has both."""
    written(out, program)
    made = bus_files(bus, System(program.config, 0, 1 << 31, 40))
    subprocess.run(["cc", *STRICT, "-O2", "-include", BENCHES / "driver_port.h", "-c", "vernier.c"],
                   cwd=out, check=True)
    (out / "core.v").write_text(with_loops(made[f"vernier_{bus}.v"]))
    command = ["verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial",
               "fast", *VERILATOR_ARGS, *SMALL, "-Wno-fatal", "-CFLAGS",
               f"-std=c++20 -I.. {'-DWISHBONE' if bus == 'wishbone' else ''}", "--prefix",
               "Vcore", "--top-module", f"vernier_{bus}", "-o", "main", "core.v",
               BENCHES / "driver_main.cpp", out / "vernier.o"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "obj_dir" / "main"


def said(built: Path, *arguments) -> dict[str, str]:
    """Run what was built, and return what it has said: lines of a name and values."""
    done = subprocess.run([built, *map(str, arguments)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("options", [[], ["-DVERNIER_CLEAN(p,n)=(void)0"], ["-m32"]],
                         ids=["plain", "clean", "32 bits"])
def test_the_driver_compiles_as_it_is(options, small, tmp_path):
    sources = tmp_path
    written(sources, small[0])
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
def test_the_driver_runs_a_network_and_no_access_does_harm(bus, small, tmp_path):
    """Both in one test, as what takes long is to build the core."""
    built = build(bus, small[0], tmp_path)
    drives(built, *small, tmp_path)
    fuzzed(built, *small, 1, 60, tmp_path)


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("bus", BUSES)
def test_the_driver_runs_the_shipped_model(bus, shipped, tmp_path):
    drives(build(bus, shipped[0], tmp_path), *shipped, tmp_path)


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("bus", BUSES)
def test_no_access_does_harm(bus, small, tmp_path):
    built = build(bus, small[0], tmp_path)
    for seed in range(2, 10):
        fuzzed(built, *small, seed, 1000, tmp_path)


def drives(built, program, image, logits, out):
    """Have the driver run a program, once with memory that fails."""
    (out / "memory.bin").write_bytes(program.memory)
    (out / "image.bin").write_bytes(image.tobytes())
    broken = program.stream.address + 0x408
    found = said(built, out / "memory.bin", out / "image.bin", 6, 10, broken)
    assert {name: RESULTS[int(found[name])] for name in EXPECTED} == EXPECTED
    assert found["error"] == f"{Status.BUS_ERROR:d} {ErrorSource.STREAM:d} {broken}"
    other = Machine(program, 255 - image)
    other.run()
    assert (other.logits != logits).any()
    for name, right in (("logits", logits), ("logits_0", logits), ("logits_1", other.logits),
                        ("logits_2", logits)):
        assert found[name].split() == [str(one) for one in right], name
    least, most = (sum(step.cycles for step in timing(program, memory).steps)
                   for memory in (IDEAL, SLOWEST))
    assert least <= int(found["cycles"]) <= most


def fuzzed(built, program, image, logits, seed, episodes, out):
    """Access registers in any order, around runs of a program."""
    (out / "whole.bin").write_bytes(program.with_image(image))
    stream, place = program.stream, program.logits
    most = 4 * timing(program, SLOWEST).cycles
    found = said(built, "fuzz", seed, episodes, out / "whole.bin", stream.address, stream.size,
                 place.address, place.size, most, 6, 10)
    for name in ("status_0", "status_1", "status_2", "resets", "refused", "undisturbed",
                 "images_1", "images_2", "images_3"):
        assert int(found.get(name, 0)) >= episodes // 30, (name, found)

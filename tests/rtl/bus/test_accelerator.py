# amaranth: UnusedElaboratable=no

"""A core at each bus, as it is exported."""

import re
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.machine import Machine
from golden.cycles.memory_model import IDEAL, MemoryModel
from golden.cycles.timing import timing
from golden.network.precision import Precision
from golden.soc.register_files import FILES
from golden.soc.system import System
from rtl.bus.accelerator import AxiAccelerator, WishboneAccelerator
from rtl.export import bus_files, main
from rtl.integration.drivers import DRIVERS
from sim.compiler import compile_network
from sim.harness.core_build import with_loops
from sim.inputs.model_lookup import open_model
from tests.benches.netlist import synthesise
from tests.benches.verilate import SMALL, STYLE, VERILATOR_ARGS, build_verilog, run_built
from tests.cases.cores import SMALLEST
from tests.cases.networks import network, pixels

MASTERS = "axi4", "wishbone"
WIDE = replace(CORES["4x4"], cols=8, bus_bytes=8)
"""The smallest core that has buses of 64 bits."""
LATENCY = 30
MOST = 1.02, 1.01
"""Cycles at a bus, of those at the core's own port: of a tiny network, and of a real one."""
SLOWEST = MemoryModel(latency=40, bytes_per_cycle=2)
"""Slower than memory at the buses of these tests, whatever it stalls."""
PORTS = {
    "axi4": {"aclk", "aresetn", "irq", "s_axi_awvalid", "s_axi_rresp", "m_axi_awaddr",
             "m_axi_wlast", "m_axi_rready", "m_axi_bid"},
    "wishbone": {"clk", "rst", "irq", "s_wb_cyc", "s_wb_dat_r", "m_wb_stall", "m_wb_err"},
    "neutral": {"clk", "rst", "irq", "memory__request__valid", "registers__answer", "base"},
}


@pytest.fixture(scope="module", params=[*MASTERS, pytest.param("neutral", marks=pytest.mark.long)])
def exported(request, tmp_path_factory):
    """A bus, and where its files are."""
    out = tmp_path_factory.mktemp(request.param)
    core = tmp_path_factory.mktemp("core") / "core.toml"
    core.write_text("[accelerator]\n" + "".join(
        f"{name} = {value}\n" for name, value in asdict(SMALLEST).items()))
    assert main(["--core", str(core), "--bus", request.param, "--address-bits", "40", "--clock-hz",
                 "50000000", "--out", str(out)]) == 0
    return request.param, out


def test_files_are_those_of_the_bus(exported):
    bus, out = exported
    assert {path.name for path in out.iterdir()} == {f"vernier_{bus}.v", *FILES, *DRIVERS[bus]}
    text = (out / f"vernier_{bus}.v").read_text()
    assert text.startswith(f"// vernier 0.1.0: {bus} ")
    module = re.search(rf"^module vernier_{bus}\((.*?)\);", text, re.MULTILINE | re.DOTALL)[1]
    assert PORTS[bus] <= set(re.findall(r"\w+", module))
    system = System(SMALLEST, 50_000_000, 1 << 31, 40)
    assert {name: (out / name).read_text() for name in FILES} == {
        name: file(system) for name, file in FILES.items()}


@pytest.mark.parametrize("exported", ["axi4"], indirect=True)
def test_the_verilog_has_the_attributes_of_its_ports(exported):
    _, out = exported
    text = (out / "vernier_axi4.v").read_text()
    assert "not run in Vivado" in text.partition("\n")[0]
    component = AxiAccelerator(System(SMALLEST, 50_000_000, 1 << 31, 40))
    for name, (port, _) in component.ports().items():
        found = re.search(rf"((?:^ *\(\*.*\*\)\n)+)^ +(?:in|out)put (?:\[.*\] )?{name};", text,
                          re.MULTILINE)
        attributes = dict(re.findall(r'(\w+) = "(.*?)"', found[1]))
        own = {key: value for key, value in attributes.items() if not key.startswith("enum_")}
        assert own == port.attrs, name


@pytest.mark.verilator
def test_verilog_is_clean_under_lint(exported):
    bus, out = exported
    result = subprocess.run(["verilator", "--lint-only", "-Wall", *VERILATOR_ARGS, *SMALL, *STYLE,
                             out / f"vernier_{bus}.v"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.long
def test_verilog_is_synthesised(exported, tmp_path):
    bus, out = exported
    cells = synthesise((out / f"vernier_{bus}.v").read_text(), tmp_path).cells
    assert not [name for name in cells if name.startswith("$")]  # nothing is left to map, no latch
    assert cells["MULT18X18D"] >= SMALLEST.rows * SMALLEST.cols
    assert cells["DP16KD"] > 0


def prepared(path, made, core, most):
    """Write a network for a core, an image in it, and what must come of it; return the file."""
    program, image = compile_network(made, core), pixels(1, made.shape)[0]
    machine = Machine(program, image)
    machine.run()
    memory = np.frombuffer(bytes(program.with_image(image)), np.uint8)
    alike = sum(step.cycles for step in timing(program, MemoryModel(LATENCY)).steps)
    np.savez(path, latency=LATENCY, alike=alike, most=most,
             memory=np.pad(memory, (0, (1 << 20) - len(memory))),
             unit=core.bus_bytes, stream=[program.stream.address, program.stream.size],
             image=[program.image.address, program.image.size],
             logits_place=[program.logits.address, program.logits.size], logits=machine.logits,
             cycles=[sum(step.cycles for step in timing(program, memory).steps)
                     for memory in (IDEAL, SLOWEST)],
             instructions=len(program.instructions()) - 1)  # END is none that is carried out
    return path


def run_behind(bus, source, made, core, most, out):
    """Run a network on the Verilog of a core at a bus, under cocotb."""
    shorter = out / "shorter.v"
    shorter.write_text(with_loops(source))
    build_verilog(shorter, f"vernier_{bus}", out)
    run_built(testbench="tests.rtl.bus.tb_accelerator", build_dir=out, top=f"vernier_{bus}",
              env={"TB_BUS": bus, "TB_RUN": str(prepared(out / "run.npz", made, core, most))})


@pytest.mark.verilator
@pytest.mark.parametrize("exported", MASTERS, indirect=True)
def test_a_network_runs_behind_a_bus(exported, tmp_path):
    bus, out = exported
    run_behind(bus, (out / f"vernier_{bus}.v").read_text(), network(Precision(8, 8)), SMALLEST,
               MOST[0], tmp_path)


@pytest.mark.verilator
@pytest.mark.parametrize("bus", MASTERS)
def test_the_shipped_model_runs_behind_a_bus(bus, tmp_path):
    source = bus_files(bus, System(WIDE, 50_000_000, 1 << 31, 40))[f"vernier_{bus}.v"]
    run_behind(bus, source, open_model("vit_cifar10:w4a4").network, WIDE, MOST[1], tmp_path)


@pytest.mark.parametrize("component", [AxiAccelerator, WishboneAccelerator])
def test_refuses_what_has_no_bus(component):
    with pytest.raises(TypeError, match="^system must be a System, not 8$"):
        component(8)
    with pytest.raises(ValueError, match=r"^address_bits must be within 32\.\.64, not 0$"):
        component(System(SMALLEST, 0, 1 << 25))

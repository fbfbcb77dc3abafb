# amaranth: UnusedElaboratable=no

"""A core at each bus, as it is exported."""

import re
import subprocess

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.machine import Machine
from golden.cycles.timing import timing
from golden.soc.register_files import FILES
from golden.soc.system import System
from rtl.bus.accelerator import AxiAccelerator, WishboneAccelerator
from rtl.export import BUSES, main
from rtl.integration.drivers import DRIVERS
from sim.compiler import compile_network
from sim.inputs.model_lookup import open_model
from tests.benches.verilate import SMALL, VERILATOR_ARGS, build_verilog, run_built
from tests.cases.networks import pixels

CORE = CORES["4x4"]
PORTS = {
    "axi4": {"aclk", "aresetn", "irq", "s_axi_awvalid", "s_axi_rresp", "m_axi_awaddr",
             "m_axi_wlast", "m_axi_rready", "m_axi_bid"},
    "wishbone": {"clk", "rst", "irq", "s_wb_cyc", "s_wb_dat_r", "m_wb_stall", "m_wb_err"},
    "neutral": {"clk", "rst", "irq", "memory__request__valid", "registers__answer", "base"},
}


@pytest.fixture(scope="module", params=BUSES)
def exported(request, tmp_path_factory):
    """A bus, and where its files are."""
    out = tmp_path_factory.mktemp(request.param)
    assert main(["--core", "4x4", "--bus", request.param, "--address-bits", "40", "--clock-hz",
                 "50000000", "--out", str(out)]) == 0
    return request.param, out


def test_files_are_those_of_the_bus(exported):
    bus, out = exported
    assert {path.name for path in out.iterdir()} == {f"vernier_{bus}.v", *FILES, *DRIVERS[bus]}
    text = (out / f"vernier_{bus}.v").read_text()
    assert text.startswith(f"// vernier 0.1.0: {bus} ")
    module = re.search(rf"^module vernier_{bus}\((.*?)\);", text, re.MULTILINE | re.DOTALL)[1]
    assert PORTS[bus] <= set(re.findall(r"\w+", module))
    system = System(CORE, 50_000_000, 1 << 31, 40)
    assert {name: (out / name).read_text() for name in FILES} == {
        name: file(system) for name, file in FILES.items()}


@pytest.mark.parametrize("exported", ["axi4"], indirect=True)
def test_the_verilog_has_the_attributes_of_its_ports(exported):
    _, out = exported
    text = (out / "vernier_axi4.v").read_text()
    assert "not run in Vivado" in text.partition("\n")[0]
    for name, (port, _) in AxiAccelerator(System(CORE, 50_000_000, 1 << 31, 40)).ports().items():
        found = re.search(rf"((?:^ *\(\*.*\*\)\n)+)^ +(?:in|out)put (?:\[.*\] )?{name};", text,
                          re.MULTILINE)
        attributes = dict(re.findall(r'(\w+) = "(.*?)"', found[1]))
        own = {key: value for key, value in attributes.items() if not key.startswith("enum_")}
        assert own == port.attrs, name


@pytest.mark.verilator
def test_verilog_is_clean_under_lint(exported):
    bus, out = exported
    result = subprocess.run(["verilator", "--lint-only", *VERILATOR_ARGS, *SMALL,
                             out / f"vernier_{bus}.v"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def prepared(path):
    """Write the shipped model, an image in it, and what must come of it; return the file."""
    network = open_model("vit_cifar10:w4a4").network
    program, image = compile_network(network, CORE), pixels(1, network.shape)[0]
    machine = Machine(program, image)
    machine.run()
    memory = np.frombuffer(bytes(program.with_image(image)), np.uint8)
    steps = timing(program).steps
    np.savez(path, memory=np.pad(memory, (0, (1 << 20) - len(memory))),
             stream=[program.stream.address, program.stream.size],
             logits_place=[program.logits.address, program.logits.size], logits=machine.logits,
             cycles=sum(step.cycles for step in steps),
             instructions=len(program.instructions()) - 1)  # END is none that is carried out
    return path


@pytest.mark.verilator
@pytest.mark.parametrize("exported", ["axi4", "wishbone"], indirect=True)
def test_the_shipped_model_runs_behind_a_bus(exported, tmp_path):
    bus, out = exported
    top = f"vernier_{bus}"
    build_verilog(out / f"{top}.v", top, tmp_path)
    run_built(testbench="tests.rtl.bus.tb_accelerator", build_dir=tmp_path, top=top,
              env={"TB_BUS": bus, "TB_RUN": str(prepared(tmp_path / "run.npz"))})


@pytest.mark.parametrize("component", [AxiAccelerator, WishboneAccelerator])
def test_refuses_what_has_no_bus(component):
    with pytest.raises(TypeError, match="^system must be a System, not 8$"):
        component(8)
    with pytest.raises(ValueError, match=r"^address_bits must be within 32\.\.64, not 0$"):
        component(System(CORE, 0, 1 << 25))

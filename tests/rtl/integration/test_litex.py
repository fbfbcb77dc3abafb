# amaranth: UnusedElaboratable=no

"""The module for LiteX, in a SoC that LiteX makes here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.common.config import CORES
from golden.soc.register_files import python
from golden.soc.system import System
from rtl.bus.accelerator import AxiAccelerator
from rtl.integration.drivers import drivers

SOC = Path(__file__).parents[2] / "benches" / "litex_soc.py"


def made(folder, address_bits, standard="wishbone"):
    """Have LiteX make a SoC; return what it has said, and the core's ports."""
    system = System(CORES["4x4"], 0, 1 << 31, address_bits)
    (folder / "vernier_litex.py").write_text(drivers("axi4")["vernier_litex.py"])
    (folder / "vernier_registers.py").write_text(python(system))
    (folder / "soc.py").write_text(SOC.read_text())
    done = subprocess.run([sys.executable, "soc.py", standard, "soc.v"], cwd=folder,
                          capture_output=True, text=True, check=False)
    return done, AxiAccelerator(system).ports()


@pytest.mark.parametrize("standard", ["wishbone", "axi"])
def test_a_soc_has_the_core_with_all_its_ports(standard, tmp_path):
    done, ports = made(tmp_path, 32, standard)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "soc.v").read_text()
    instance = re.search(r"^vernier_axi4 \w+\((.*?)^\);", text, re.MULTILINE | re.DOTALL)[1]
    connected = dict(re.findall(r"\.(\w+) *\((.*)\),?$", instance, re.MULTILINE))
    assert set(connected) == set(ports)
    inputs, outputs = (set(re.findall(r"\.(\w+)", part))
                       for part in instance.split("// Outputs."))
    assert {name for name in outputs if name.startswith("m_axi_")} == {
        f"m_axi_{name}" for name in ports_out()}
    assert {"aclk", "aresetn", "s_axi_awaddr"} <= inputs
    assert "irq" in outputs
    for name, net in connected.items():
        if re.fullmatch(r"\w+", net):
            found = re.search(rf"^(?:reg|wire) +(?:\[(\d+):0\])? +{net}\b", text, re.MULTILINE)
            assert int(found[1] or 0) + 1 == len(ports[name][0]), name
        else:
            assert net.endswith("[11:0]") or name == "aresetn"


def ports_out():
    """What an AXI4 master says: all but the answers."""
    return {f"{channel}{name}" for channel in ("aw", "ar") for name in (
        "id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "valid")} | {
        "wdata", "wstrb", "wlast", "wvalid", "bready", "rready"}


def test_a_core_with_other_addresses_is_refused(tmp_path):
    done, _ = made(tmp_path, 40)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: the core has addresses of 40 bits, and the SoC of 32: "
                                "export it with --address-bits\n")

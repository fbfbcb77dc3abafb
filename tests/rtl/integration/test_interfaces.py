# amaranth: UnusedElaboratable=no

"""The attributes by which Vivado knows the interfaces of a core at AXI4."""

import re

from golden.common.config import CORES
from golden.soc.system import System
from rtl.bus.accelerator import AxiAccelerator
from rtl.integration.drivers import drivers


def attributes(clock_hz=0):
    """What is said of each port: its logical name, and parameters by their names."""
    ports = AxiAccelerator(System(CORES["4x4"], clock_hz, 1 << 31, 40)).ports()
    return {name: (port.attrs["X_INTERFACE_INFO"], dict(
        said.split(" ", 1) for said in port.attrs.get("X_INTERFACE_PARAMETER", "").split(", ")
        if said)) for name, (port, _) in ports.items()}


def test_every_port_of_a_bus_belongs_to_its_interface():
    found = attributes()
    for name, (info, _) in found.items():
        prefix, _, rest = name.rpartition("_")
        if prefix:
            interface = {"s_axi": "S_AXI_CONTROL", "m_axi": "M_AXI"}[prefix]
            assert info == f"xilinx.com:interface:aximm:1.0 {interface} {rest.upper()}"
    assert len(found) > 50


def test_clock_reset_and_interrupt_are_known():
    found = attributes(50_000_000)
    assert found["aclk"] == ("xilinx.com:signal:clock:1.0 aclk CLK", {
        "XIL_INTERFACENAME": "aclk", "ASSOCIATED_BUSIF": "S_AXI_CONTROL:M_AXI",
        "ASSOCIATED_RESET": "aresetn", "FREQ_HZ": "50000000"})
    assert found["aresetn"] == ("xilinx.com:signal:reset:1.0 aresetn RST", {
        "XIL_INTERFACENAME": "aresetn", "POLARITY": "ACTIVE_LOW"})
    assert found["irq"] == ("xilinx.com:signal:interrupt:1.0 irq INTERRUPT", {
        "XIL_INTERFACENAME": "irq", "SENSITIVITY": "LEVEL_HIGH"})
    assert "FREQ_HZ" not in attributes()["aclk"][1]


def test_interfaces_say_what_they_are():
    found = attributes()
    assert found["s_axi_awaddr"][1] == {
        "XIL_INTERFACENAME": "S_AXI_CONTROL", "PROTOCOL": "AXI4LITE", "DATA_WIDTH": "32",
        "ADDR_WIDTH": "12"}
    assert found["m_axi_awaddr"][1] == {
        "XIL_INTERFACENAME": "M_AXI", "PROTOCOL": "AXI4", "DATA_WIDTH": "32", "ADDR_WIDTH": "40",
        "ID_WIDTH": "1", "READ_WRITE_MODE": "READ_WRITE", "SUPPORTS_NARROW_BURST": "0",
        "MAX_BURST_LENGTH": "16"}


def test_the_script_looks_for_all_of_them():
    script = drivers("axi4")["vernier_ip.tcl"]
    names = set(re.search(r"foreach name \{(.*?)\}", script)[1].split())
    assert names == {said["XIL_INTERFACENAME"] for _, said in attributes().values() if said}

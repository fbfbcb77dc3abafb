# amaranth: UnusedElaboratable=no

from dataclasses import replace

import pytest

from rtl.bus.axi4 import Axi4Master
from tests.benches.verilate import run_cocotb
from tests.cases.buses import BUSES

CONFIG = BUSES["32 of 32 bits"].config


@pytest.mark.verilator
@pytest.mark.parametrize("name", [
    "128 of 64 bits", *(pytest.param(name, marks=pytest.mark.long) for name in (
        "32 of 32 bits", "64 of 40 bits", "no bursts", "long bursts"))])
def test_memory_at_axi4(name, tmp_path):
    bus = BUSES[name]
    dut = Axi4Master(bus.config, address_bits=bus.address_bits, flight=bus.flight,
                     burst=bus.burst)
    run_cocotb(dut, testbench="tests.rtl.bus.tb_axi4", build_dir=tmp_path, env={"TB_BUS": name})


@pytest.mark.parametrize(("choices", "message"), [
    ({"address_bits": 65}, r"address_bits must be within 32\.\.64, not 65"),
    ({"burst": 257, "flight": 300}, r"burst must be within 1\.\.256, not 257"),
    ({"burst": 16, "flight": 15}, "flight must be 16 or more, not 15")])
def test_refuses_buses_that_it_cannot_drive(choices, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Axi4Master(CONFIG, **choices)


def test_refuses_beats_that_axi4_has_not():
    with pytest.raises(ValueError, match="^bus_bytes must be 4, 8 or 16 at AXI4, not 2$"):
        Axi4Master(replace(CONFIG, bus_bytes=2))

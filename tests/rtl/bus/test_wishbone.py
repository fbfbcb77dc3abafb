# amaranth: UnusedElaboratable=no

import pytest

from rtl.bus.wishbone import WishboneMaster, WishboneSlave
from tests.benches.bus_registers import BusRegisters
from tests.benches.verilate import run_cocotb
from tests.cases.buses import BUSES

CONFIG = BUSES["32 of 32 bits"].config


@pytest.mark.verilator
def test_registers_answer_the_master_of_others(tmp_path):
    run_cocotb(BusRegisters(WishboneSlave()), testbench="tests.rtl.bus.tb_wishbone_slave",
               build_dir=tmp_path)


@pytest.mark.parametrize("bits", [8, 33])
def test_refuses_addresses_that_do_not_reach_all_registers(bits):
    with pytest.raises(ValueError, match=rf"^address_bits must be within 9\.\.32, not {bits}$"):
        WishboneSlave(bits)


@pytest.mark.verilator
@pytest.mark.parametrize("name", [
    "64 of 40 bits",
    *(pytest.param(name, marks=pytest.mark.long)
      for name in ("32 of 32 bits", "128 of 64 bits", "no bursts"))])
def test_memory_at_wishbone(name, tmp_path):
    bus = BUSES[name]
    run_cocotb(WishboneMaster(bus.config, address_bits=bus.address_bits, flight=bus.flight),
               testbench="tests.rtl.bus.tb_wishbone_master", build_dir=tmp_path,
               env={"TB_BUS": name})


@pytest.mark.parametrize(("choices", "message"), [
    ({"address_bits": 31}, r"address_bits must be within 32\.\.64, not 31"),
    ({"flight": 0}, "flight must be 1 or more, not 0")])
def test_refuses_buses_that_it_cannot_drive(choices, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        WishboneMaster(CONFIG, **choices)

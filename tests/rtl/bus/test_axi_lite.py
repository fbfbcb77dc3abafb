# amaranth: UnusedElaboratable=no

import pytest

from rtl.bus.axi_lite import AxiLiteSlave
from tests.benches.bus_registers import BusRegisters
from tests.benches.verilate import run_cocotb


@pytest.mark.verilator
def test_registers_answer_the_master_of_others(tmp_path):
    run_cocotb(BusRegisters(AxiLiteSlave()), testbench="tests.rtl.bus.tb_axi_lite",
               build_dir=tmp_path)


@pytest.mark.parametrize("bits", [8, 33])
def test_refuses_addresses_that_do_not_reach_all_registers(bits):
    with pytest.raises(ValueError, match=rf"^address_bits must be within 9\.\.32, not {bits}$"):
        AxiLiteSlave(bits)

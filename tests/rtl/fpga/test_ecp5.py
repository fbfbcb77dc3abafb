"""What syntheses for the ECP5 keep."""

import json
from collections import Counter

from golden.common.config import CORES
from rtl.timing import synthesise


def test_each_bank_of_a_scratchpad_has_registers_of_its_own(tmp_path):
    config = CORES["4x4"]
    netlist = json.loads(synthesise("scratchpad", config, tmp_path).read_text())
    nets = {name: bits["bits"] for name, bits in netlist["modules"]["alone"]["netnames"].items()}
    driven = Counter(bit for cell in netlist["modules"]["alone"]["cells"].values()
                     if cell["type"] == "TRELLIS_FF" for bit in cell["connections"]["Q"])
    addresses = [bits for name, bits in nets.items() if "read_address_" in name and "_0" in name
                 and "$" not in name and "TRELLIS" not in name]
    assert len(addresses) == config.rows
    bits = [bit for each in addresses for bit in each]
    assert len(set(bits)) == len(bits) == config.rows * (config.scratchpad_words - 1).bit_length()
    assert all(driven[bit] == 1 for bit in bits)

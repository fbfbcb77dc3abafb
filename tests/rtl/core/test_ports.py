# amaranth: UnusedElaboratable=no
"""Ports of the core, as those who connect it know them."""

import pytest
from amaranth.lib.wiring import In, Out

from golden.common.config import CORES
from rtl.core.core import Core

COUNTERS = ("cycles", "array", "weights", "drain", "fetch", "transfer", "norm", "softmax",
            "predict", "reads", "writes")


@pytest.mark.parametrize("name", CORES)
def test_ports_have_their_directions_and_widths(name):
    members = dict(Core(CORES[name]).signature.members)
    memory = {port: members.pop(port) for port in ("request", "response")}
    assert members == {
        "start": In(1), "stream": In(32), "stream_bytes": In(32), "image_offset": In(32),
        "logits_offset": In(32), "busy": Out(1), "done": Out(1),
        "status": Out(4), "index": Out(16), "exited": Out(1),
        **{f"counter_{one}": Out(40) for one in COUNTERS}}
    bus = 8 * CORES[name].bus_bytes
    widths = {port: member.signature.members["payload"].shape.size
              for port, member in memory.items()}
    assert widths == {"request": 32 + 1 + bus + 8 + 1, "response": bus + 1}

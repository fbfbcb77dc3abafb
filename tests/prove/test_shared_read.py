"""The shared read port serves the first that asks, in their order."""

import pytest

from golden.common.config import AcceleratorConfig
from rtl.memory.shared_read import SharedRead
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=4, scale_lanes=1, sram_kib=16, stream_words=256)
USERS = 3
DEPTH = 3


def setting():
    """Users that ask as they like; memory gives anything."""
    one = Setting()
    dut = one.unit(SharedRead(CONFIG, USERS))
    served = []  # by the rule: whoever asks, if none before asks
    for index, user in enumerate(dut.users):
        free = ~sum((before.enable for before in dut.users[:index]), 0).any() if index else 1
        one.claim("free if nobody before asks", dut.free[index] == free)
        served.append(user.enable & free)
        one.claim("the first that asks is served", ~served[-1] | (
            dut.port.enable & (dut.port.address == user.address)))
    asks = sum((user.enable for user in dut.users), 0) != 0
    one.claim("read only if somebody asks", dut.port.enable == asks)
    for user in dut.users:
        one.claim("it has what is read", user.data.as_value() == dut.port.data.as_value())
    one.cover("all ask", sum((user.enable for user in dut.users), 0) == USERS)
    return one


def test_serves_the_first_that_asks(tmp_path):
    assert proved(setting(), tmp_path, depth=8) == set()
    assert reached(setting(), tmp_path / "cover", depth=8) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("~before if index else 1", "1", "free if nobody before asks"),
    ("reversed(self.users)", "self.users", "the first that asks is served"),
    ("self.port.enable.eq(before)", "self.port.enable.eq(1)", "read only if somebody asks"),
    ("user.data.eq(self.port.data)", "user.data.eq(0)", "it has what is read"),
])
def test_a_mutant_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, SharedRead, "elaborate", old, new)
    assert breaks(broken, setting(), tmp_path, depth=8)

# amaranth: UnusedElaboratable=no

import pytest

from rtl.soc.host_link import HostLink, SerialLink
from rtl.soc.link_executor import LinkExecutor
from rtl.soc.link_receiver import FrameReceiver
from tests.benches.link_replay import LinkReplay
from tests.cases.link_traffic import SYSTEMS

SYSTEM = SYSTEMS["4-byte beats"]


@pytest.mark.verilator
def test_answers_byte_for_byte_what_the_device_answers(tmp_path):
    assert LinkReplay(SYSTEM, tmp_path).check(seed=1, episodes=3000) > 3000


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_a_hundred_thousand_frames(name, tmp_path):
    replay = LinkReplay(SYSTEMS[name], tmp_path)
    assert sum(replay.check(seed, 10_000) for seed in range(2, 9)) > 100_000


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: HostLink(8, pause=8), TypeError, "system must be a System, not 8"),
    (lambda: LinkExecutor("board"), TypeError, "system must be a System, not 'board'"),
    (lambda: HostLink(SYSTEM, pause=0), ValueError, "pause must be 1 or more, not 0"),
    (lambda: FrameReceiver("8"), TypeError, "pause must be an integer, not '8'"),
    (lambda: SerialLink(SYSTEM, 0), ValueError, "baud must be 1 or more, not 0"),
    (lambda: SerialLink(SYSTEM, 10_000_000), ValueError,
     "baud must be 6250000 or less at 25000000 Hz, not 10000000"),
])
def test_refuses_wrong_arguments(make, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        make()

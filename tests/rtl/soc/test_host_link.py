# amaranth: UnusedElaboratable=no

import pytest

from rtl.soc.host_link import HostLink, SerialLink
from rtl.soc.link_executor import LinkExecutor
from rtl.soc.link_receiver import FrameReceiver
from tests.benches.link_board import LinkBoard
from tests.benches.verilate import run_cocotb
from tests.cases.link_traffic import SYSTEMS

SYSTEM = SYSTEMS["4-byte beats"]


def check(name, tmp_path, frames, seed):
    run_cocotb(LinkBoard(SYSTEMS[name]), testbench="tests.rtl.soc.tb_host_link",
               build_dir=tmp_path,
               env={"TB_SYSTEM": name, "TB_FRAMES": str(frames), "TB_SEED": str(seed)})


@pytest.mark.verilator
@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_byte_for_byte_what_the_device_answers(name, tmp_path):
    check(name, tmp_path, 1500, 1)


@pytest.mark.long
@pytest.mark.verilator
def test_answers_a_hundred_thousand_frames(tmp_path):
    check("4-byte beats", tmp_path, 100_000, 2)


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

"""The arbiter forwards every request once, answers whose it was, and gives each user its turn."""

import itertools

import pytest
from amaranth.hdl import Array, Cat, Mux, Signal

from golden.common.config import AcceleratorConfig
from rtl.soc.arbiter import MemoryArbiter
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=4, bus_bytes=1)
FLIGHT = 3
DEPTH = 10


def setting(users=3):
    """Users that keep what they ask for; a memory that answers nothing it was not asked for."""
    one = Setting()
    m = one.m
    dut = one.unit(MemoryArbiter(CONFIG, users=users, flight=FLIGHT))
    request, response = dut.memory.request, dut.memory.response
    asking = Cat(user.request.valid for user in dut.users)
    taken = Cat(user.request.valid & user.request.ready for user in dut.users)
    for user in dut.users:
        one.holds(user.request.valid, user.request.ready, user.request.payload)
    forwarded = request.valid & request.ready
    awaited = one.count("requests in memory", forwarded, response.valid, FLIGHT)
    one.assume(~response.valid | (awaited != 0))

    # What was taken last, until it is forwarded.
    waits = one.count("requests on the way", taken.any(), forwarded, 1)
    kept = Signal.like(request.payload.as_value())
    chosen = Signal(range(users))
    for index, user in enumerate(dut.users):
        with m.If(taken[index]):
            m.d.comb += chosen.eq(index)
            m.d.sync += kept.eq(user.request.payload)
    one.claim("one at a time", (taken & (taken - 1)) == 0)
    one.claim("forwarded once", request.valid == waits)
    one.claim("forwarded as asked", ~request.valid | (request.payload.as_value() == kept))
    one.held("held until it is taken", request.valid, request.ready, request.payload)
    inside = waits + awaited
    one.claim("taken wherever there is room",
              ~asking.any() | (request.valid & ~request.ready) | (inside == FLIGHT) | taken.any())

    # Whose each request is that awaits its response, the oldest first.
    owners = Array(Signal(range(users), name=f"owner_{at}") for at in range(FLIGHT + 1))
    for at in range(FLIGHT):
        following = owners[at + 1]
        arrives = taken.any() & (at == inside - response.valid)
        m.d.sync += owners[at].eq(Mux(arrives, chosen,
                                      Mux(response.valid, following, owners[at])))
    for index, user in enumerate(dut.users):
        its = Signal(name=f"answer_of_{index}")
        m.d.sync += its.eq(response.valid & (owners[0] == index))
        one.claim("answers go to whose they are", user.response.valid == its)
    answer, any_answer = Signal.like(response.payload.as_value()), Signal()
    m.d.sync += [answer.eq(response.payload.as_value()), any_answer.eq(response.valid)]
    one.claim("answers are handed on", response.ready & (~any_answer | Cat(
        user.response.payload.as_value() == answer for user in dut.users).all()))

    # The rule: of those that ask, the first behind the one that was served last.
    last = Signal(range(users))
    with m.If(taken.any()):
        m.d.sync += last.eq(chosen)
    for index in range(users):
        nearer = Cat(asking[(index - step) % users] & (last == (index - step - more) % users)
                     for step in range(1, users) for more in range(1, users - step + 1))
        one.claim("the next one is served", ~taken[index] | ~nearer.any())
    for waiter, other in itertools.permutations(range(users), 2):
        went = Signal(name=f"went_{other}_before_{waiter}")  # while the waiter asks
        with m.If(taken[waiter] | ~asking[waiter]):
            m.d.sync += went.eq(0)
        with m.Elif(taken[other]):
            m.d.sync += went.eq(1)
        one.claim("none waits for two of another", ~(went & taken[other]))
        one.cover("one waits while another goes", went & taken[waiter])
    one.cover("full", (inside == FLIGHT) & response.valid)
    return one


@pytest.mark.parametrize("users", [2])
def test_forwards_answers_and_chooses_by_the_rule(users, tmp_path):
    assert proved(setting(users), tmp_path, depth=DEPTH) == set()
    assert reached(setting(users), tmp_path / "cover", depth=DEPTH) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("user.request.ready.eq(free & ~Cat(nearer).any())", "user.request.ready.eq(free)",
     "one at a time"),
    ("m.d.sync += request.valid.eq(0)", "pass", "forwarded once"),
    ("for user in self.users)[chosen])]", "for user in self.users)[owner])]",
     "forwarded as asked"),
    ("(~request.valid | request.ready) & room", "room",
     "requests on the way within 1"),
    ("& room", "& (owners.level == 0)", "taken wherever there is room"),
    ("& room", "", f"requests in memory within {FLIGHT}"),
    ("owners.w_data.eq(chosen)", "owners.w_data.eq(owner)", "answers go to whose they are"),
    ("user.response.payload.eq(answer)", "user.response.payload.eq(0)",
     "answers are handed on"),
    ("reversed(range(1, self._count))", "range(1, self._count)", "the next one is served"),
    ("owner.eq(chosen),", "", "none waits for two of another"),
])
def test_a_mutant_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, MemoryArbiter, "elaborate", old, new)
    assert breaks(broken, setting(), tmp_path, depth=DEPTH)

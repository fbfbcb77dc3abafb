"""A skid buffer hands on every payload once and in order, for all inputs and any length of run."""

import pytest
from amaranth.hdl import Mux, Signal

from rtl.common.skid_buffer import SkidBuffer
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
DEPTH = 3


def setting():
    one = Setting()
    buffer = one.unit(SkidBuffer(8))
    one.holds(buffer.i.valid, buffer.i.ready, buffer.i.payload)
    taken = buffer.i.valid & buffer.i.ready
    given = buffer.o.valid & buffer.o.ready
    inside = one.count("payloads inside", taken, given, 1)
    last = Signal(8)
    with one.m.If(taken):
        one.m.d.sync += last.eq(buffer.i.payload)
    one.held("held until it is taken", buffer.o.valid, buffer.o.ready, buffer.o.payload)
    one.claim("offered as soon as it comes", buffer.o.valid == (inside | buffer.i.valid))
    one.claim("in order", ~buffer.o.valid
              | (buffer.o.payload == Mux(inside, last, buffer.i.payload)))
    one.claim("ready says whether there is room", buffer.i.ready == ~inside[0])
    one.cover("handed on at once", given & taken)
    one.cover("kept and handed on", given & inside)
    return one


def test_hands_on_every_payload_once_in_order(tmp_path):
    assert proved(setting(), tmp_path, depth=DEPTH, induction=True) == set()
    assert reached(setting(), tmp_path / "cover", depth=6) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("full.eq(self.o.valid & ~self.o.ready)", "full.eq(self.i.valid & ~self.o.ready)",
     "held until it is taken"),
    ("full | self.i.valid", "full", "offered as soon as it comes"),
    ("Mux(full, Value.cast(kept),", "Mux(self.i.valid & ~full, Value.cast(kept),", "in order"),
    ("with m.If(~full)", "with m.If(1)", "in order"),
    ("self.i.ready.eq(~full)", "self.i.ready.eq(1)", "ready says whether there is room"),
])
def test_a_mutant_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, SkidBuffer, "elaborate", old, new)
    assert breaks(broken, setting(), tmp_path, depth=8)

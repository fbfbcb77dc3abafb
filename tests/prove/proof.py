"""Proofs over all inputs: what is claimed of a unit, and the tools that hold it to that.

A setting has a unit in it, whose inputs are free in every cycle. It assumes what its surroundings
keep to, and claims what the unit then does; a claim has a name, so that a test can say which one
is broken. Claims may be made of registers that the setting itself keeps.
"""

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Cover,
    Fragment,
    Instance,
    Module,
    Signal,
    Value,
)
from amaranth.lib import wiring

from rtl.build import find_tool

TIMEOUT = 600
"""Seconds for one run of the solver."""
_RUN = r"""[options]
mode {mode}
depth {depth}
timeout {timeout}
[engines]
smtbmc --nopresat yices
[script]
read_rtlil top.il
chtype -set $anyconst t:\$anyconst
prep -flatten -top top
{cuts}
[files]
top.il
"""


class Setting:
    """A module to put a unit and what is said of it into; its only clock never resets."""

    def __init__(self):
        self.m = Module()
        self.m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        self._ports = [domain.clk]
        self._claims = []
        self.cuts = []
        """Names of signals that have any value in every cycle, whatever drives them."""

    def unit(self, unit: wiring.Component, name: str = "unit", fragment=None) -> wiring.Component:
        """Return `unit`, put into the module; its inputs are free unless something drives them."""
        self.m.submodules[name] = unit if fragment is None else fragment
        self._ports += [Value.cast(value) for _, member, value in unit.signature.flatten(unit)
                        if member.flow is wiring.In]
        return unit

    def apart(self, unit: wiring.Component, *names: str, cut: tuple[str, ...] = ()) -> list:
        """Put `unit` into the module; return those registers of its own that have these names.

        A dot is between the name of a submodule and what is in it. The registers in `cut`, which
        come last, have any value in every cycle instead of theirs.
        """
        whole = Fragment.get(unit, None)
        self.unit(unit, fragment=whole)
        self.cuts += [f"unit.{name}" for name in cut]
        return [self._register(whole, *name.split(".")) for name in (*names, *cut)]

    @staticmethod
    def _register(fragment, *path) -> Signal:
        for name in path[:-1]:
            fragment = fragment.find_subfragment(name)
        found, = (signal for signal in fragment.statements["sync"]._lhs_signals()
                  if signal.name == path[-1])
        return found

    def free(self, shape, name: str) -> Signal:
        """Return what may have another value in every cycle."""
        signal = Signal(shape, name=name)
        self._ports.append(Value.cast(signal))
        return signal

    def constant(self, shape, name: str) -> Signal:
        """Return what has any value, always the same."""
        signal = Signal(shape, name=name)
        self.m.submodules += Instance("$anyconst", p_WIDTH=len(Value.cast(signal)), o_Y=signal)
        return signal

    def before(self, value, init=0) -> Signal:
        """Return `value` in the cycle before, `init` in the first one."""
        kept = Signal.like(Value.cast(value), name="before", init=init)
        self.m.d.sync += kept.eq(value)
        return kept

    def count(self, name: str, up, down, limit: int) -> Signal:
        """Return by how much more the one has come than the other, in the cycles before.

        `limit` is the most that it can hold; more is claimed never to come.
        """
        value = Signal(range(limit + 1), name=name.replace(" ", "_"))
        following = value + up - down
        self.m.d.sync += value.eq(following)
        self.claim(f"{name} within {limit}", (following >= 0) & (following <= limit))
        return value

    def assume(self, what):
        """Look only at runs in which this is so in every cycle."""
        self.m.d.comb += Assume(what)

    def claim(self, name: str, what):
        """Want this to be so in every cycle."""
        self._claims.append((name, what))

    def cover(self, name: str, what):
        """Want this to be possible in some cycle."""
        self.m.d.comb += Cover(what, name)

    def held(self, name: str, valid, ready, *payload):
        """Claim that what is offered stays, and does not change, until it is taken."""
        self.claim(name, self._held(valid, ready, payload))

    def holds(self, valid, ready, *payload):
        """Assume the same."""
        self.assume(self._held(valid, ready, payload))

    def _held(self, valid, ready, payload):
        waits = self.before(Value.cast(valid) & ~ready)
        same = [self.before(part) == part for part in map(Value.cast, payload)]
        return ~waits | (Value.cast(valid) & Value.cast(sum(~one[0] for one in same) == 0))

    def rtlil(self, only: str | None = None) -> str:
        """Return the module for yosys, with all claims or `only` those of one name; once."""
        claims = [Assert(what, name) for name, what in self._claims if only in (None, name)]
        assert claims, f"nothing is claimed by the name of {only!r}"
        self.m.d.comb += claims
        return rtlil.convert(self.m, name="top", ports=self._ports, emit_src=False)


def proved(setting: Setting, out: Path, *, depth: int, induction: bool = False) -> set[str]:
    """Return the names of claims that were broken first, none if all hold.

    They hold in the first `depth` cycles, or by `induction` over so many in all.
    """
    return _run(setting, out, "prove" if induction else "bmc", depth)


def breaks(claim: str, setting: Setting, out: Path, *, depth: int) -> bool:
    """Return whether a claim is broken in the first `depth` cycles, whatever becomes of others."""
    return _run(setting, out, "bmc", depth, only=claim) == {claim}


def reached(setting: Setting, out: Path, *, depth: int) -> set[str]:
    """Return the names of covers that no run of `depth` cycles reaches."""
    return _run(setting, out, "cover", depth)


def _run(setting, out, mode, depth, only=None):
    text = setting.rtlil(only)
    names = dict(re.findall(r'cell \$check \$(\d+)\n +parameter \\FORMAT "(.*)"', text))
    out.mkdir(parents=True, exist_ok=True)
    (out / "top.il").write_text(text)
    (out / "proof.sby").write_text(_RUN.format(
        mode=mode, depth=depth, timeout=TIMEOUT,
        cuts="".join(f"cutpoint w:{name}\n" for name in setting.cuts)))
    tools = {"yosys": "yosys", "smtbmc": "yosys-smtbmc", "witness": "yosys-witness"}
    command = [find_tool("sby"), "-f", "proof.sby"]
    for option, tool in tools.items():
        command += [f"--{option}", find_tool(tool)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(command, cwd=out, env=os.environ | {"PATH": path}, text=True,
                         capture_output=True, check=False)
    status = (out / "proof" / "status").read_text().split()[0] if run.returncode < 16 else "ERROR"
    if status == "PASS":
        return set()
    kinds = {"cover": r"Unreached cover statement at top: \S*?_(\d+)\b"}
    pattern = kinds.get(mode, r"Assert failed in top: \S*?_(\d+)\b")
    broken = {names[number] for number in re.findall(pattern, run.stdout)}
    if not broken or status not in ("FAIL", "UNKNOWN"):
        raise RuntimeError(f"{status}\n{run.stdout[-3000:]}\n{run.stderr}")
    return broken


def mutate(monkeypatch, owner, function: str, old: str, new: str):
    """Replace a piece of the source of a method or a function, which must have it just once."""
    method = getattr(owner, function)
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(old) == 1, f"{owner.__name__}.{function} has not one {old!r}"
    scope = {}
    exec(source.replace(old, new), method.__globals__, scope)
    monkeypatch.setattr(owner, function, scope[function])

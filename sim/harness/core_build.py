# amaranth: UnusedElaboratable=no
"""Compiles the RTL of a core with Verilator, once for each core that there is.

The core's Verilog and ``verilator_main.cpp``, which has external memory and the checks in it,
become one executable (:mod:`sim.harness.executable`).
"""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from golden.common.config import AcceleratorConfig

from .executable import Design, executable

TOP = "vernier_core"
"""Top module of a core's Verilog."""

_MAIN = Path(__file__).with_name("verilator_main.cpp")


def build(config: AcceleratorConfig, *, factory: Callable | None = None,
          trace: str | None = None) -> Path:
    """Return the executable of a core, compiled first if the cache does not have it.

    Parameters
    ----------
    config
        Of the core.
    factory
        From a configuration to an Amaranth component with the ports of the core, or to Verilog of
        one with a top module :data:`TOP`; without one, :class:`rtl.core.core.Core`.
    trace
        Format of the traces that it can write, which makes it slower: ``vcd``; ``fst``, for
        which lz4 and zlib must be installed with their headers; or ``saif``, see
        :class:`sim.harness.verilator.Windows`.

    Raises
    ------
    UserError
        As :func:`sim.harness.executable.executable` does.
    """
    def verilog() -> str:
        made = core_verilog(config, factory)
        return named_alone(made) if trace == "saif" else made

    return executable(Design(
        "core", TOP, _MAIN, verilog,
        lambda verilog: _shape(verilog, config), _CONTROL,
        repr(asdict(config)) if factory is None else None), trace)


def core_verilog(config: AcceleratorConfig, factory: Callable | None = None) -> str:
    """Return the Verilog of a core."""
    if factory is None:
        from rtl.core.core import Core as factory
    core = factory(config)
    return with_loops(core) if isinstance(core, str) else component_verilog(core, TOP)


def component_verilog(component, top: str) -> str:
    """Return the Verilog of an Amaranth component, its top module `top`; initial contents of
    memories are put as loops.
    """
    from amaranth.back import verilog

    from rtl.export import ports_of

    return with_loops(verilog.convert(component, name=top, ports=ports_of(component),
                                       emit_src=False, strip_internal_attrs=True))


_FIELD = re.compile(r"(?m)^  (?:wire|reg) (?:\[\d+:\d+\] )?(\\\S*[.\[]\S*) ")


def named_alone(verilog: str) -> str:
    """Put an underscore before names of what Verilator is not to trace: values of expressions,
    called ``$5``, and fields of a signal, which are the same bits again.
    """
    fields = set(_FIELD.findall(verilog))

    def renamed(name: re.Match) -> str:
        return f"\\_{name[0][1:]}" if name[0][1] == "$" or name[0] in fields else name[0]
    return re.sub(r"\\\S+", renamed, verilog)


_INITIAL = re.compile(r"(?m)^  initial begin\n((?:    \w+\[\d+\] = [^;]+;\n)+)  end\n")
_ENTRY = re.compile(r"    (\w+)\[(\d+)\] = ([^;]+);\n")


def with_loops(verilog: str) -> str:
    """Put runs of equal contents of a memory as loops: else a scratchpad is 200,000 lines."""
    def shortened(block: re.Match) -> str:
        runs: list[list] = []
        for name, at, value in _ENTRY.findall(block[1]):
            if runs and runs[-1][0] == (name, value) and runs[-1][2] + 1 == int(at):
                runs[-1][2] += 1
            else:
                runs.append([(name, value), int(at), int(at)])
        lines = [f"    for (at = {first}; at <= {last}; at = at + 1) {name}[at] = {value};\n"
                 if last > first else f"    {name}[{first}] = {value};\n"
                 for (name, value), first, last in runs]
        return "".join([f"  initial begin : initial_{block.start()}\n", "    integer at;\n",
                        *lines, "  end\n"])
    return _INITIAL.sub(shortened, verilog)


def _shape(verilog: str, config: AcceleratorConfig) -> str:
    """Return ``core_shape.h``: what the C++ has to know about the core.

    Raises
    ------
    ValueError
        If the core does not have the banks of the configuration.
    """
    module = re.search(rf"(?ms)^module \\?{TOP}\.scratchpad .*?^endmodule", verilog)
    found = re.findall(r"(?m)^  reg \[15:0\] bank_(\d+) \[(\d+):0\];", module[0] if module else "")
    wanted = {(str(bank), str(config.scratchpad_words - 1)) for bank in range(config.rows)}
    if set(found) != wanted:
        raise ValueError(f"the scratchpad must have {config.rows} banks of "
                         f"{config.scratchpad_words} words, but its Verilog has "
                         f"{len(found)} of {', '.join({depth for _, depth in found}) or 'no'} + 1")
    ports = re.search(rf"(?ms)^module {TOP}\(.*?^endmodule", verilog)[0]
    counters = re.findall(r"(?m)^  output (?:\[\d+:0\] )?counter_(\w+);", ports)
    banks = ", ".join(f"&root.{TOP}__DOT__scratchpad__DOT__bank_{bank}[0]"
                      for bank in range(config.rows))
    takes = ("core.response___05Fready" if re.search(r"(?m)^  output response__ready;", ports)
             else "true")
    visits = "".join(f'    visit("{name}", core.counter_{_mangled(name)});\n' for name in counters)
    return f"""#pragma once

#include <array>
#include <cstdint>

#include "Vcore.h"
#include "Vcore___024root.h"

constexpr unsigned kBusBytes = {config.bus_bytes}, kBanks = {config.rows};
constexpr uint64_t kWords = {config.scratchpad_words};

inline std::array<const uint16_t*, kBanks> banks(Vcore& core) {{
    const auto& root = *core.rootp;
    return {{{banks}}};
}}

inline bool takes_response([[maybe_unused]] const Vcore& core) {{
    return {takes};
}}

template <class Visit>
void counters([[maybe_unused]] Vcore& core, [[maybe_unused]] Visit visit) {{
{visits}}}
"""


def _mangled(name: str) -> str:
    return name.replace("__", "___05F")


_CONTROL = f"""`verilator_config
public_flat_rd -module "{TOP}.scratchpad" -var "bank_*"
"""

"""Run a cocotb testbench on the Verilog of an Amaranth component."""

import os
from pathlib import Path

from amaranth.back import verilog
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import VerilatorControlFile, get_runner

# Generated Verilog extends and truncates operands implicitly, as the language defines, and lists
# the states of a state machine without the codes that none of them has.
VERILATOR_ARGS = ["-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE"]

# What has one word or one tile in a core that is small has indexes of no bits.
SMALL = ["-Wno-ASCRANGE", "-Wno-CMPCONST"]

# Of -Wall, what is said of style alone: a file that has other modules beside its own, registers
# that have a value before the first reset, signals that nobody reads, names used again inside.
STYLE = ["-Wno-DECLFILENAME", "-Wno-PROCASSINIT", "-Wno-UNUSEDSIGNAL", "-Wno-VARHIDDEN"]

_SIM = os.environ.get("SIM", "verilator")
_BUILD_ARGS = VERILATOR_ARGS if _SIM == "verilator" else []
_COMMON = {"hdl_toplevel": "top", "timescale": ("1ns", "1ps")}


def _runner():
    return get_runner(_SIM)


def run_cocotb(dut, *, testbench: str, build_dir: Path, env: dict[str, str] | None = None,
               seed: int = 1):
    """Convert `dut` to Verilog, build it, and run every cocotb test in module `testbench`.

    `env` is added to the environment of the simulator process; use it to name the
    configuration that `dut` was built with.
    """
    build_cocotb(dut, build_dir)
    run_built(testbench=testbench, build_dir=build_dir, env=env, seed=seed)


def build_cocotb(dut, build_dir: Path):
    """Convert `dut` to Verilog and build it, for any number of :func:`run_built`."""
    source = build_dir / "top.v"
    source.write_text(verilog.convert(dut, name="top", emit_src=False))
    _runner().build(sources=[source], always=True, build_args=_BUILD_ARGS, build_dir=build_dir,
                    **_COMMON)


def build_verilog(source: Path, top: str, build_dir: Path):
    """Build a Verilog file whose top module is `top`; only its ports can be seen, which is faster
    where it is large.
    """
    visible = build_dir / "visible.vlt"
    visible.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n')
    _runner().build(sources=[VerilatorControlFile(visible), source], always=True,
                    build_args=[*_BUILD_ARGS, "-no-public-flat-rw", *SMALL],
                    build_dir=build_dir, **_COMMON | {"hdl_toplevel": top})


def run_built(*, testbench: str, build_dir: Path, env: dict[str, str] | None = None,
              seed: int = 1, only: str | None = None, top: str = "top"):
    """Run the cocotb tests in module `testbench` on what was built in `build_dir`.

    All of them, or those whose names match the regular expression `only`.
    """
    results = _runner().test(test_module=testbench, build_dir=build_dir, test_dir=build_dir,
                             seed=seed, test_filter=only, extra_env=env or {},
                             hdl_toplevel_lang="verilog",
                             **_COMMON | {"hdl_toplevel": top})
    tests, failures = get_results(results)
    assert tests > 0, f"no cocotb test ran in {testbench}"
    assert failures == 0, f"{failures} of {tests} cocotb tests of {testbench} failed"

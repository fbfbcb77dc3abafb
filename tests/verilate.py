"""Run a cocotb testbench on the Verilog of an Amaranth component."""

import os
from pathlib import Path

from amaranth.back import verilog
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

# Generated Verilog extends and truncates operands implicitly, as the language defines, and lists
# the states of a state machine without the codes that none of them has.
VERILATOR_ARGS = ["-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE"]


def run_cocotb(dut, *, testbench: str, build_dir: Path, env: dict[str, str] | None = None,
               seed: int = 1):
    """Convert `dut` to Verilog, build it, and run every cocotb test in module `testbench`.

    `env` is added to the environment of the simulator process; use it to name the
    configuration that `dut` was built with.
    """
    source = build_dir / "top.v"
    source.write_text(verilog.convert(dut, name="top", emit_src=False))

    sim = os.environ.get("SIM", "verilator")
    runner = get_runner(sim)
    common = {"hdl_toplevel": "top", "timescale": ("1ns", "1ps"), "build_dir": build_dir}
    runner.build(sources=[source], always=True,
                 build_args=VERILATOR_ARGS if sim == "verilator" else [], **common)
    results = runner.test(test_module=testbench, test_dir=build_dir, seed=seed,
                          extra_env=env or {}, **common)
    tests, failures = get_results(results)
    assert tests > 0, f"no cocotb test ran in {testbench}"
    assert failures == 0, f"{failures} of {tests} cocotb tests of {testbench} failed"

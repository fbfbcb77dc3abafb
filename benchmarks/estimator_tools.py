"""SCALE-Sim and ZigZag, each run in a Python that has it, on matrix products and a core's array.

What a tool is told follows from the :class:`golden.common.config.AcceleratorConfig`; its files are
left in the folder that is given.
"""

import csv
import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import Source
from sim.cli import UserError, folder, one_line

_RUNNER = Path(__file__).resolve().with_name("zigzag_layers.py")
_HARDWARE = {True: "weights_from_stream.yaml", False: "weights_from_scratchpad.yaml"}
_VERSION = "from importlib.metadata import version; print(version('scalesim'))"
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product (m, k) x (k, n) of a program.

    `weights` come from where the instruction says; a result has `bits`; `count` are alike.
    """

    name: str
    m: int
    k: int
    n: int
    weights: Source = Source.STREAM
    bits: int = 8
    mode: Mode = Mode.W8A8
    count: int = 1

    @property
    def one(self) -> "Product":
        """The product once."""
        return replace(self, count=1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one."""
        return self.m * self.k * self.n

    @property
    def shape(self) -> str:
        """``MxKxN``."""
        return f"{self.m}x{self.k}x{self.n}"

    @property
    def layer(self) -> str:
        """All that ZigZag's result depends on: shape, source of the weights, bits of a result."""
        return f"{self.shape} {self.weights.name.lower()} {self.bits}"


def scalesim(python: Path, products: Iterable[Product], config: AcceleratorConfig, dataflow: str,
             place: Path) -> dict:
    """Return what SCALE-Sim reports: its version, and the compute cycles of each shape.

    Raises
    ------
    UserError
        If it does not run.
    """
    shapes = {product.shape: product for product in products}
    folder(place)
    (place / "scale.cfg").write_text(scalesim_config(config, dataflow))
    (place / "products.csv").write_text("Layer, M, N, K,\n" + "".join(
        f"{shape}, {product.m}, {product.n}, {product.k},\n"
        for shape, product in shapes.items()))
    (place / "layout.csv").write_text("Layer,\n")
    printed = _run([python, "-m", "scalesim.scale", "-c", "scale.cfg", "-t", "products.csv", "-l",
                    "layout.csv", "-i", "gemm", "-p", "out", "-s", "N"], place)
    report = place / "out" / "vernier" / "COMPUTE_REPORT.csv"
    if not report.is_file():  # its exit status is 0 in any case
        raise UserError(f"SCALE-Sim has made no report: {one_line(printed[-200:])}")
    cycles = compute_cycles(report.read_text())
    version = _run([python, "-c", _VERSION], place).strip()
    return {"version": version, "cycles": dict(zip(shapes, cycles, strict=True))}


def compute_cycles(report: str) -> list[int]:
    """Return the cycles of each layer of a ``COMPUTE_REPORT.csv``, stalls taken off."""
    rows = csv.DictReader(report.splitlines(), skipinitialspace=True)
    return [round(float(row["Total Cycles"]) - float(row["Stall Cycles"])) for row in rows]


def scalesim_config(config: AcceleratorConfig, dataflow: str) -> str:
    """Return the file of options that SCALE-Sim is given."""
    ring = config.stream_words * config.cols // _KIB
    return f"""[general]
run_name = vernier
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
[architecture_presets]
ArrayHeight: {config.rows}
ArrayWidth: {config.cols}
IfmapSramSzkB: {config.sram_kib}
FilterSramSzkB: {ring}
OfmapSramSzkB: {config.sram_kib}
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
ReadRequestBuffer: 64
WriteRequestBuffer: 64
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
"""


def zigzag(python: Path, products: Sequence[Product], config: AcceleratorConfig,
           place: Path) -> dict:
    """Return what ZigZag says: its version, and of each layer the cycles of its best mapping.

    Raises
    ------
    UserError
        If it does not run.
    """
    folder(place)
    for stream, name in _HARDWARE.items():
        (place / name).write_text(json.dumps(zigzag_hardware(config, stream), indent=1) + "\n")
    (place / "mapping.yaml").write_text(json.dumps(zigzag_mapping(config), indent=1) + "\n")
    layers = {product.layer: product for product in products}
    (place / "layers.json").write_text(json.dumps(
        [{"workload": zigzag_workload(product), "mapping": "mapping.yaml",
          "accelerator": _HARDWARE[product.weights is Source.STREAM]}
         for product in layers.values()], indent=1) + "\n")
    _run([python, "-P", str(_RUNNER), str(place.resolve())], place)
    found = json.loads((place / "cycles.json").read_text())
    return {"version": found["version"],
            "cycles": dict(zip(layers, found["layers"], strict=True))}


def zigzag_workload(product: Product) -> list[dict]:
    """Return a product as ZigZag's workload: 32-bit sums, results as the program stores them."""
    return [{"id": 0, "name": product.name, "operator_type": "Gemm",
             "equation": "O[b][k]+=I[b][c]*W[c][k]", "loop_dims": ["B", "K", "C"],
             "loop_sizes": [product.m, product.n, product.k],
             "operand_precision": {"I": 8, "W": 8, "O": 32, "O_final": product.bits},
             "operand_source": {"I": 0, "W": 0}}]


def zigzag_mapping(config: AcceleratorConfig) -> list[dict]:
    """Return the spatial mapping: rows of a result along the array's, columns along its columns."""
    return [{"name": "default",
             "spatial_mapping": {"D1": [f"B, {config.rows}"], "D2": [f"K, {config.cols}"]},
             "memory_operand_links": {"I": "I1", "W": "I2", "O": "O"}}]


def zigzag_hardware(config: AcceleratorConfig, stream: bool) -> dict:
    """Return the core as ZigZag's hardware.

    Two accumulators to a multiplier; activations and results in the scratchpad, through one read
    and one write port of a word. Weights pass through a buffer, of which the array reads a word a
    cycle: with `stream` the ring, filled from external memory, otherwise that of keys and values,
    filled from the scratchpad. Energies are not asked for, and all 1.
    """
    word, weights = 8 * config.word_bytes, 8 * config.cols
    both = ["D1", "D2"]
    spared = [] if stream else ["I2"]
    ring = config.stream_words if stream else 2 * config.key_words
    memories = {
        "accumulators": _memory(64, ["O"], [], [
            _port("r_port_1", "read", 32, "O, tl"), _port("r_port_2", "read", 32, "O, th"),
            _port("w_port_1", "write", 32, "O, fh"), _port("w_port_2", "write", 32, "O, fl"),
        ]) | {"force_double_buffering": True},
        "weight_buffer": _memory(ring * weights, ["I2"], both, [
            _port("r_port_1", "read", weights, "I2, tl"),
            _port("w_port_1", "write", weights, "I2, fh")]),
        "scratchpad": _memory(8 * _KIB * config.sram_kib, ["I1", "O", *spared], both, [
            _port("r_port_1", "read", word, "I1, tl", "O, tl", "O, th",
                  *(f"{name}, tl" for name in spared)),
            _port("w_port_1", "write", word, "I1, fh", "O, fh", "O, fl",
                  *(f"{name}, fh" for name in spared))]),
    }
    if stream:
        memories["external"] = _memory(1 << 33, ["I2"], both, [
            _port("rw_port_1", "read_write", 8 * config.bus_bytes, "I2, fh", "I2, tl")])
    return {"name": f"vernier {config.rows}x{config.cols}", "memories": memories,
            "operational_array": {"unit_energy": 1.0, "unit_area": 1.0, "dimensions": both,
                                  "sizes": [config.rows, config.cols]}}


def _memory(bits: int, operands: list[str], served: list[str], ports: list[dict]) -> dict:
    return {"size": bits, "r_cost": 1.0, "w_cost": 1.0, "area": 0.0, "latency": 1,
            "operands": operands, "ports": ports, "served_dimensions": served}


def _port(name: str, kind: str, bits: int, *operands: str) -> dict:
    """A port that moves up to `bits` a cycle, whole bytes."""
    return {"name": name, "type": kind, "bandwidth_min": 8, "bandwidth_max": bits,
            "allocation": list(operands)}


def _run(command: list, place: Path) -> str:
    """Run a command in a folder, and return what it prints; the program is found from here."""
    program, *arguments = map(str, command)
    found = shutil.which(program)
    if found is None:
        raise UserError(f"cannot run {program}: there is no such program")
    done = subprocess.run([str(Path(found).absolute()), *arguments], cwd=place,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise UserError(f"{program} ends with status {done.returncode}: {one_line(last)}")
    return done.stdout

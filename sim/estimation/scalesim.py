"""Cycles as SCALE-Sim 3.0.0 computes them, in closed form.

Equal, product by product, to the compute cycles that SCALE-Sim 3.0.0 reports for a list of matrix
products on an R x C array. It knows operands of one width, never overlaps a fold of a product with
the next, and takes one cycle off each product (its issue 125).
"""

from .workload import Workload

DATAFLOWS = {"os": "output stationary", "ws": "weight stationary", "is": "input stationary"}


def product_cycles(m: int, k: int, n: int, rows: int, cols: int, dataflow: str) -> int:
    """Return the compute cycles of an (m, k) x (k, n) product with `dataflow` os, ws or is."""
    if dataflow == "os":
        return -(-m // rows) * -(-n // cols) * (k + rows + cols - 2) - 1
    if dataflow == "ws":
        return -(-k // rows) * -(-n // cols) * (m + 2 * rows + cols - 2) - 1
    if dataflow == "is":
        return -(-k // rows) * -(-m // cols) * (n + 2 * rows + cols - 2) - 1
    raise ValueError(f"dataflow must be one of {', '.join(DATAFLOWS)}, not {dataflow!r}")


def network_cycles(workload: Workload, rows: int, cols: int, dataflow: str) -> int:
    """Return the compute cycles of all products of a network, every head by itself."""
    return sum(op.count * product_cycles(*op.shape, rows, cols, dataflow)
               for op in workload.products)

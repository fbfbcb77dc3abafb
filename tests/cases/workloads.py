"""Workloads of real models, traced once per test run, and small ones made by hand."""

import functools

from sim.estimate import workload_of
from sim.estimation.workload import Operation, Product, Workload

DEIT_T_MACS = {
    "patch embedding": 28_901_376, "qkv": 261_439_488, "scores": 89_415_936,
    "attention x V": 89_415_936, "projection": 87_146_496, "fc1": 348_585_984,
    "fc2": 348_585_984, "head": 192_000,
}


@functools.cache
def traced(name: str, image_size: int | None = None) -> Workload:
    """Workload of a timm model."""
    return workload_of(name, image_size)


def product(m: int, k: int, n: int, *, role: str = "fc1", reads: tuple[int, ...] = (-1,),
            right: tuple[int, ...] = (), **rest) -> Product:
    """A product whose activations are `reads` without `right`."""
    left = tuple(value for value in reads if value not in right)
    return Product(**{"name": role, "role": role, "reads": reads, "left": left, "right": right,
                      "m": m, "k": k, "n": n, "elements": m * n * rest.get("count", 1),
                      "left_elements": m * k, **rest})


def made_of(*operations: Operation, image: int = 0) -> Workload:
    """A workload of `operations` on an image of `image` bytes."""
    return Workload("made up", (image,), operations)

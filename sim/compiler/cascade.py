"""A cascade as one program: two networks, one behind the other, and an EXIT between them.

Both read the same image, and store their logits at the same place. What the first one has stored
stays there if its answer is sure; the second one begins anew, with scales and tables of its own.
Tensors of the second have names that begin with :data:`SECOND`.
"""

from dataclasses import fields

from golden.common.config import AcceleratorConfig
from golden.core.isa import Layout, Opcode
from golden.core.program import Program, Region
from golden.core.rules import verify
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.network.cascade import Cascade
from golden.network.network import Network
from golden.rows.softmax_run import highest_keys

from .allocation import allocate
from .builder import Builder, Matrix
from .compiler import compile_network, noted, scales_of
from .layers import LayerBuilder
from .limits import DoesNotFit, pixel_bytes
from .linker import link, reserve
from .lowering import lower
from .plan import Plan
from .windows.network import Cuts, lower_windows

SECOND = "second."
"""What names of the second network's tensors begin with."""


def compile_cascade(cascade: Cascade, config: AcceleratorConfig, about: dict | None = None, *,
                    memory: MemoryModel | SdramMemory = USUAL) -> Program:
    """Return the program that runs a cascade on a core.

    Parameters
    ----------
    cascade
        Two networks, each of which :func:`.compiler.compile_network` takes.
    config
        The core.
    about
        JSON values that the program is to keep.
    memory
        As :func:`.compiler.compile_network` takes it.

    Returns
    -------
    Program
        Verified. The golden machine gives it the logits of
        :class:`golden.network.cascade.CascadeVit`. ``about["cascade"]`` has its `threshold`, and
        the index of its EXIT, `exit`.

    Raises
    ------
    DoesNotFit
        If the core has no room or no means for it: what, and how much is missing.
    ValueError
        If the configuration is no core's.
    """
    first, second = cascade.first, cascade.second
    plans, cuts = zip(*(_plan_of(network, config, memory) for network in (first, second)),
                      strict=True)
    _check(cascade, config)
    regions = reserve(first, config, plans[0])
    beside = reserve(second, config, plans[1], regions)
    build = LayerBuilder(first, config, False, plans[0])
    leave(build, _lowered(build, regions, cuts[0]), cascade.threshold)
    behind = LayerBuilder(second, config, False, plans[1])
    _lowered(behind, beside, cuts[1])
    behind.emit(Opcode.END)
    count = len(build.steps)
    joined = joined_builder(build, behind)
    allocate(joined.matrices, config)
    kinds = dict.fromkeys(scales_of(network) for network in (first, second))
    program = link(joined, [(first, regions), (second, beside)], {
        "bits": f"{first.precision} then {second.precision}", "scales": " then ".join(kinds),
        **noted(joined, first),
        "cascade": {"threshold": cascade.threshold, "exit": count - 1}, **(about or {})})
    verify(program)
    return program


def leave(build: Builder, logits: Matrix, threshold: int) -> None:
    """End the program if the answer is sure: if the doubt of logits is the threshold or less."""
    probs = build.matrix("probs", Layout.OPERAND8, 1, logits.cols)
    build.emit(Opcode.SOFTMAX, reads={"source": (logits, 0)}, writes={"dest": (probs, 0)}, m=1,
               n=logits.cols)
    build.emit(Opcode.EXIT, exponent=threshold)


def joined_builder(first: Builder, second: Builder) -> Builder:
    """Return the steps of two builders one behind the other, with the matrices of both."""
    made, count = Builder(first.config), len(first.steps)
    for matrix in second.matrices:
        for each in (matrix, *matrix.versions):
            each.name = SECOND + each.name
            for name in ("first", "written", "last"):
                setattr(each, name, getattr(each, name) + count)
    made.steps = [*first.steps, *second.steps]
    made.matrices = [*first.matrices, *second.matrices]
    made.needed = first.needed | {at + count: rows for at, rows in second.needed.items()}
    return made


def _plan_of(network: Network, config: AcceleratorConfig,
             memory: MemoryModel | SdramMemory) -> tuple[Plan, Cuts | None]:
    """Return the plan that a network has on its own, and the cuts of one of patches alone."""
    found = compile_network(network, config, memory=memory).about.get("plan", {})
    if network.shape.in_windows:
        cuts = Cuts.of(found)
        return Plan(patches=cuts.patches, residual=True), cuts
    return Plan(**{field.name: found[field.name] for field in fields(Plan) if found}), None


def _lowered(build: LayerBuilder, regions: dict[str, Region], cuts: Cuts | None) -> Matrix:
    """Emit a network; return its logits."""
    return lower(build, regions) if cuts is None else lower_windows(build, regions, cuts)


def _check(cascade: Cascade, config: AcceleratorConfig) -> None:
    classes, most = cascade.first.shape.classes, highest_keys(config)
    if classes > most:
        raise DoesNotFit(f"classes of a cascade must be {most} (max_tokens) or fewer, not "
                         f"{classes}")
    pixels = [pixel_bytes(network.shape, config) for network in (cascade.first, cascade.second)]
    if len(set(pixels)) > 1:
        raise DoesNotFit(f"pixels must have the same bytes in memory for both networks, not "
                         f"{pixels[0]} and {pixels[1]}")

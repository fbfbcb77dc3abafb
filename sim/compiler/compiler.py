"""From a quantized network to a program of the core, in four steps.

:mod:`.lowering` makes instructions of it, whose matrices have no addresses yet, but intervals of
instructions in which they are needed; :mod:`.allocation` gives those that are alive together places
of their own; :mod:`.linker` makes the program. Where the scratchpad has no room for everything, a
plan (:mod:`.plan`) has rows done in blocks and keeps some matrices in external memory: of each
choice of what is kept there, the one with the fewest blocks is tried, and that with the fewest
cycles (:mod:`golden.cycles.timing`) taken. What still does not fit is refused, and how much is
missing is said.
"""

from dataclasses import replace

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode
from golden.core.program import Program
from golden.core.rules import verify
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.cycles.timing import cycles
from golden.network.network import Network

from .allocation import allocate
from .builder import Builder
from .layers import LayerBuilder
from .limits import DoesNotFit, check, too_small
from .linker import link, reserve
from .lowering import lower
from .plan import PHASES, Plan, counts, described, finer, kinds, moved
from .windows.cuts import cuts_of
from .windows.network import lower_windows


def compile_network(network: Network, config: AcceleratorConfig, about: dict | None = None,
                    *, jit: bool = False, whole: bool = False,
                    memory: MemoryModel | SdramMemory = USUAL) -> Program:
    """Return the program that runs a network on a core.

    Parameters
    ----------
    network
        A ViT of any depth and width that the core has room for.
    config
        The core.
    about
        JSON values that the program is to keep.
    jit
        Measure scales just in time; for the golden machine only.
    whole
        Refuse what would need a plan, as is done with `jit`; networks of patches alone have one.
    memory
        For which the fastest of several plans is taken.

    Returns
    -------
    Program
        Verified (:func:`golden.core.rules.verify`). The golden machine gives it the logits of
        :class:`golden.network.vit.Vit`, unless scales are measured just in time. If it has a plan,
        ``about["plan"]`` has what :func:`.plan.described` says of it; where products have rows that
        are of no use, ``about["needed"]`` says how many are, by index of the instruction; where
        there are windows, ``about["stages"]`` has the first blocks of stages.

    Raises
    ------
    DoesNotFit
        If the core has no room or no means for it: what, and how much is missing.
    ValueError
        If the configuration is no core's.
    """
    config.check_core()
    check(network, config, jit)
    try:
        return _compiled(network, config, about or {}, jit, whole or jit, memory)
    except DoesNotFit:
        raise
    except ValueError as error:  # a predictor, a field or an instruction that the core has not
        raise DoesNotFit(str(error)) from None


def compile_with_room(network: Network, config: AcceleratorConfig, about: dict | None = None,
                      *, jit: bool = False) -> Program:
    """Return what :func:`compile_network` does, for a core with a larger scratchpad if need be.

    Raises
    ------
    DoesNotFit, ValueError
        As :func:`compile_network` does, but for the scratchpad.
    """
    try:
        return compile_network(network, config, about, jit=jit)
    except DoesNotFit as error:
        if error.sram_kib is None:
            raise
        return compile_network(network, replace(config, sram_kib=error.sram_kib), about, jit=jit)


def _compiled(network: Network, config: AcceleratorConfig, about: dict, jit: bool,
              whole: bool, memory: MemoryModel | SdramMemory) -> Program:
    made: dict = {}
    if not network.shape.prefix and whole:
        raise DoesNotFit("networks of patches alone are done in blocks, by a plan")
    if network.shape.in_windows:
        return _cut(network, config, about, made)
    if not network.shape.prefix:
        return _planned(network, config, about, made, memory)
    try:
        return _with_plan(Plan(), network, config, about, jit, made)
    except DoesNotFit as error:
        if error.sram_kib is None or whole:
            raise
    return _planned(network, config, about, made, memory)


def _cut(network: Network, config: AcceleratorConfig, about: dict, made: dict) -> Program:
    """Return the program of a network of patches alone, or say how much room it needs in all: what
    comes later may need more than what has no room first.
    """
    found, roomy = None, config
    while True:
        try:
            program = _cut_for(network, roomy, about, made)
        except DoesNotFit as error:
            if error.sram_kib is None:
                raise
            found, roomy = error, replace(config, sram_kib=error.sram_kib)
        else:
            break
    if found is not None:
        raise too_small(config, found.sram_kib, found.name, found.phase)
    return program


def _cut_for(network: Network, config: AcceleratorConfig, about: dict, made: dict) -> Program:
    plan = Plan(residual=True)
    regions = reserve(network, config, plan)
    cuts = cuts_of(network, config, regions,
                   lambda: LayerBuilder(network, config, False, plan, made))
    plan = replace(plan, patches=cuts.patches)
    build = LayerBuilder(network, config, False, plan, made)
    lower_windows(build, regions, cuts)
    build.emit(Opcode.END)
    allocate(build.matrices, config)
    program = _linked(build, network, regions, about)
    kept = [region for name, region in regions.items() if name.startswith("residual")]
    said = {**cuts.described(), **moved(program, kept)}
    return replace(program, about={**program.about, "plan": said})


def _planned(network: Network, config: AcceleratorConfig, about: dict, made: dict,
             memory: MemoryModel | SdramMemory) -> Program:
    """Return the fastest program of a network that is larger than the scratchpad."""
    found, missing = [], None
    for plan in kinds(network, config):
        try:
            found.append(_coarsest(plan, network, config, about, made))
        except DoesNotFit as error:
            if error.sram_kib is None:
                raise
            if missing is None or error.sram_kib < missing.sram_kib:
                missing = error
    if not found:
        raise missing
    return min(found, key=lambda program: sum(cycles(program, memory)))


def _coarsest(plan: Plan, network: Network, config: AcceleratorConfig, about: dict,
              made: dict) -> Program:
    """Return the program of the plan with the fewest blocks that fits.

    Where a matrix has no room, there are more blocks in the part that it belongs to: fewer would
    be no help to it. Long images have hundreds of blocks to choose from: there are twice as many as
    long as they do not suffice, and what that passed over is gone back to by halves.
    """
    few = dict.fromkeys(PHASES, 0)  # so many blocks are too few
    plan, build = _first_that_fits(plan, few, network, config, made)
    for phase in PHASES:
        while passed := [count for count in counts(phase, network, config)
                         if few[phase] < count < getattr(plan, phase)]:
            fewer = replace(plan, **{phase: passed[len(passed) // 2]})
            try:
                build = _placed(fewer, network, config, False, made)
            except DoesNotFit:
                few[phase] = getattr(fewer, phase)
            else:
                plan = fewer
    regions = reserve(network, config, plan)
    program = _linked(build, network, regions, about)
    said = described(plan, program, regions)
    return replace(program, about={**program.about, "plan": said})


def _first_that_fits(plan: Plan, few: dict[str, int], network: Network, config: AcceleratorConfig,
                     made: dict) -> tuple[Plan, LayerBuilder]:
    """Return the first plan that fits, and what it makes; note how many blocks were too few."""
    while True:
        try:
            return plan, _placed(plan, network, config, False, made)
        except DoesNotFit as error:
            phase = error.phase
            more = phase and finer(plan, phase, network, config)
            if error.sram_kib is None or not more:
                raise
            few[phase], plan = getattr(plan, phase), more


def _with_plan(plan: Plan, network: Network, config: AcceleratorConfig, about: dict, jit: bool,
               made: dict) -> Program:
    return _linked(_placed(plan, network, config, jit, made), network,
                   reserve(network, config, plan), about)


def _placed(plan: Plan, network: Network, config: AcceleratorConfig, jit: bool,
            made: dict) -> LayerBuilder:
    """Return the instructions of a network, and their matrices where they fit."""
    build = LayerBuilder(network, config, jit, plan, made)
    lower(build, reserve(network, config, plan))
    build.emit(Opcode.END)
    allocate(build.matrices, config)
    return build


def _linked(build: LayerBuilder, network: Network, regions: dict, about: dict) -> Program:
    """Return the verified program of what has been placed."""
    scales = "jit" if build.jit else scales_of(network)
    program = link(build, [(network, regions)], {
        "bits": str(network.precision), "scales": scales, **noted(build, network), **about})
    verify(program)
    return program


def scales_of(network: Network) -> str:
    """Return what becomes of the scales of a network, in one word."""
    return "predicted" if network.taps else "static"


def noted(build: Builder, network: Network) -> dict:
    """Return what is to be known of a program with windows: which rows of products are needed, and
    the first blocks of stages. JSON values, none where nothing is.
    """
    found = {"needed": {str(at): rows for at, rows in build.needed.items()},
             "stages": [0, *network.shape.merges] if network.shape.window else []}
    return {name: value for name, value in found.items() if value}

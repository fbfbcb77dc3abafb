"""From a quantized network to a program of the core, in four steps.

:mod:`.lowering` makes instructions of it, whose matrices have no addresses yet, but intervals of
instructions in which they are needed; :mod:`.allocation` gives those that are alive together places
of their own; :mod:`.linker` makes the program. Everything stays in the scratchpad: what does not
fit is refused, and how much is missing is said.
"""

from dataclasses import replace

from golden.common.config import AcceleratorConfig
from golden.core.program import Program
from golden.core.rules import verify
from golden.network.network import Network

from .allocation import allocate
from .layers import LayerBuilder
from .limits import DoesNotFit, check
from .linker import link, reserve
from .lowering import lower


def compile_network(network: Network, config: AcceleratorConfig, about: dict | None = None,
                    *, jit: bool = False) -> Program:
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

    Returns
    -------
    Program
        Verified (:func:`golden.core.rules.verify`). The golden machine gives it the logits of
        :class:`golden.network.vit.Vit`, unless scales are measured just in time.

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
        return _compiled(network, config, about or {}, jit)
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


def _compiled(network: Network, config: AcceleratorConfig, about: dict, jit: bool) -> Program:
    regions = reserve(network, config)
    build = LayerBuilder(network, config, jit)
    lower(build, **{name: region.address for name, region in regions.items()})
    allocate(build.matrices, config)
    scales = "jit" if jit else "predicted" if network.taps else "static"
    program = link(build, network, regions,
                   {"bits": str(network.precision), "scales": scales, **about})
    verify(program)
    return program

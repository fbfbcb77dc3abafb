# amaranth: UnusedElaboratable=no

"""What components refuse to be made with; the tests of each have what is its own."""

import gc
import importlib
import inspect
import pkgutil

import pytest
from amaranth.lib import wiring

import rtl
from golden.common.config import AcceleratorConfig
from golden.common.formats import LAMBDA
from golden.sdram.sdram import CHIPS, Schedule
from golden.soc.boards import BAUD, BOARDS
from rtl.boards.accelerator import AcceleratorTop
from rtl.memory.dma import Dma
from rtl.memory.matrix_reader import MatrixReader
from rtl.memory.row_store import RowQueue, RowStore
from rtl.memory.shared_read import SharedRead
from rtl.prediction.prediction import Prediction
from rtl.prediction.range_sums import LaneExtremes
from rtl.prediction.scale_sums import RoundSum
from rtl.product.mac_array import MacArray
from rtl.product.tile_drain import TileDrain
from rtl.rows.norm_sums import RowSums
from rtl.selftest.stations import Station
from rtl.soc.soc import Soc

CONFIG = AcceleratorConfig(4, 4, lanes=4)
CHIP = CHIPS["AS4C32M16SB"]
OTHERS = {"chip": CHIP, "hertz": 50_000_000, "schedule": Schedule(CHIP.timing(50_000_000)),
          "words": 2, "depth": 3, "users": 2, "flight": 3,
          "divisor": 8, "pause": 8, "memory": BOARDS["ulx3s"], "baud": BAUD}
"""Of parameters without a default."""


def _configured():
    """Return all components that take a configuration, those of one module left out."""
    found = {}
    for info in pkgutil.walk_packages(rtl.__path__, "rtl."):
        if info.name.startswith("rtl.integration.vernier_"):
            continue  # what goes with an exported core, beside files that are made with it
        for name, each in vars(importlib.import_module(info.name)).items():
            if (inspect.isclass(each) and issubclass(each, wiring.Component)
                    and each.__module__ == info.name and not name.startswith("_")
                    and "config" in inspect.signature(each).parameters):
                found[f"{info.name}.{name}"] = each
    return found


CONFIGURED = _configured()


def _arguments(component):
    return {name: OTHERS[name] for name, one in inspect.signature(component).parameters.items()
            if name != "config" and one.default is one.empty}


def test_all_components_are_looked_at():
    assert {"rtl.core.core.Core", "rtl.memory.dma.Dma", "rtl.prediction.prediction.Prediction",
            "rtl.rows.softmax_rows.Rows", "rtl.selftest.self_test.SelfTest"} <= CONFIGURED.keys()
    for component in CONFIGURED.values():
        if not issubclass(component, Station) or component is Station:
            component(CONFIG, **_arguments(component))
    gc.collect()  # parts made before `elaborate` would warn: that they were never used


@pytest.mark.parametrize("wrong", ["8x16", 8, None], ids=repr)
@pytest.mark.parametrize("name", CONFIGURED)
def test_what_is_no_configuration_is_refused(name, wrong):
    component = CONFIGURED[name]
    with pytest.raises(TypeError, match=f"^config must be an AcceleratorConfig, not {wrong!r}$"):
        component(wrong, **_arguments(component))


@pytest.mark.parametrize("name", [name for name in CONFIGURED if name.startswith("rtl.core.")] + [
    f"{each.__module__}.{each.__name__}" for each in (Dma, MatrixReader, SharedRead, Prediction)])
def test_parts_of_a_core_refuse_what_is_none(name):
    component = CONFIGURED[name]
    with pytest.raises(ValueError, match="^scale_lanes must be 1, 2 or 4 in a core, not 3$"):
        component(AcceleratorConfig(4, 4, lanes=4, scale_lanes=3), **_arguments(component))


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: RowStore(CONFIG, 0), ValueError, "words must be 1 or more, not 0"),
    (lambda: RowQueue(CONFIG, 2), ValueError, "depth must be 3 or more, not 2"),
    (lambda: LaneExtremes(0), ValueError, "lanes must be 1 or more, not 0"),
    (lambda: RowSums("4"), TypeError, "lanes must be an integer, not '4'"),
    (lambda: TileDrain(CONFIG, 0), ValueError, "flight must be 1 or more, not 0"),
    (lambda: MacArray(CONFIG, lends=17), ValueError, r"lends must be within 0\.\.16, not 17"),
    (lambda: RoundSum(16, 1, 2), TypeError, "fmt must be an IntFormat, not 16"),
    (lambda: RoundSum(LAMBDA, 0, 2), ValueError, "bits must be 1 or more, not 0"),
    (lambda: RoundSum(LAMBDA, 1, 1 << 20), ValueError, r"high must be within .*, not 1048576"),
    (lambda: Station(CONFIG, 0), ValueError, "words must be 1 or more, not 0"),
    (lambda: Soc(CONFIG, CHIP, BAUD), TypeError, "memory must be an SdramMemory, not Chip.*"),
    (lambda: AcceleratorTop(CONFIG, CHIP), TypeError,
     "memory must be an SdramMemory, not Chip.*"),
])
def test_other_parameters(make, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        make()

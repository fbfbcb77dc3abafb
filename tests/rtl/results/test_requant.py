# amaranth: UnusedElaboratable=no

import random

import numpy as np
import pytest

from golden.common import formats
from golden.common.exp2 import exp2
from golden.common.formats import Mode
from golden.product.mac_array import gemm
from golden.results.requant import requant
from rtl.results import requant as rtl_requant
from rtl.results.requant import Requant
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source
from tests.benches.verilate import run_cocotb
from tests.cases.configs import TEST_CONFIGS
from tests.cases.recorded import recorded


def operands(lanes, count, *, low, high, seed=1):
    """Return beats whose results mostly fall inside ``low..high``, corners included."""
    rng = random.Random(seed)
    limits = [formats.ACC.min, formats.ACC.max, -1, 0, 1]
    span = (high - low).bit_length()

    def operand():
        bits = rng.randint(1, formats.ACC.bits - 1)
        acc = rng.choice(limits) if rng.random() < 0.1 else rng.randint(
            -(1 << bits) if low < 0 else -(1 << bits) // 8, 1 << bits)
        mantissa = rng.randint(1 << formats.MANTISSA.frac, formats.MANTISSA.max)
        shift = max(0, min(formats.SHIFT.max, bits + 17 - span + rng.randint(-1, 3)))
        return {"acc": min(acc, formats.ACC.max),
                "multiplier": {"mantissa": mantissa, "shift": shift}}

    beats = [[operand() for _ in range(lanes)] for _ in range(count)]
    edge = {"acc": 1, "multiplier": {"mantissa": 1, "shift": 0}}
    most = {"acc": formats.ACC.min, "multiplier": {"mantissa": formats.MANTISSA.max, "shift": 63}}
    return [[edge] * lanes, [most] * lanes, *beats]


def expected_beats(beats, low, high):
    return [[int(requant([[op["acc"]]], [op["multiplier"]["mantissa"]],
                         [op["multiplier"]["shift"]], low, high)[0, 0]) for op in beat]
            for beat in beats]


def score_beats(lanes, count):
    """Return beats that turn recorded queries times keys into scores, log2 domain, Q6.10."""
    data = recorded()
    q, k = data.site("q", 5, 8), data.site("k", 5, 8)
    acc = gemm(q.values[0], k.values[0].T, Mode.W8A8).ravel()[:lanes * count].tolist()
    log2_e, head = 542, 3 << formats.LAMBDA.frac  # log2(log2(e)) and log2(sqrt(64)), as LAMBDA
    exponent = q.lam + k.lam + log2_e - head + (10 << formats.LAMBDA.frac)
    mantissa, shift = (int(array[0]) for array in exp2([exponent]))
    operands = [{"acc": a, "multiplier": {"mantissa": mantissa, "shift": shift}} for a in acc]
    return [operands[n:n + lanes] for n in range(0, len(operands), lanes)]


def test_recorded_scores_are_within_their_format():
    beats = score_beats(1, 2000)
    scores = expected_beats(beats, formats.ACT16.min, formats.ACT16.max)
    assert 1000 < np.abs(scores).max() < formats.ACT16.max
    assert len({score for score, in scores}) > 500


def check(config, low, high, *, idle=0.0, stall=0.0):
    dut = Requant(config)
    beats = operands(config.lanes, 120, low=low, high=high)
    expected = expected_beats(beats, low, high)
    inside = np.mean([low < value < high for beat in expected for value in beat])
    assert inside > 0.4, "operands should not saturate most of the time"

    async def limits(ctx):
        ctx.set(dut.low, low)
        ctx.set(dut.high, high)

    simulate(dut, limits, source(dut.i, beats, idle=idle),
             sink(dut.o, expected, list, stall=stall), monitors=[held(dut.o)])


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (0, 255), (-8, 7), (-7, 7), (0, 15),
                                           (-4, 3), (-32768, 32767)])
def test_matches_golden(low, high):
    check(TEST_CONFIGS["two-lanes"], low, high, idle=0.3, stall=0.3)


def test_accepts_a_beat_every_cycle():
    check(TEST_CONFIGS["8x16"], -128, 127)


def test_latency():
    dut = Requant(TEST_CONFIGS["uneven"])

    async def testbench(ctx):
        payload = [{"acc": 5, "multiplier": {"mantissa": 1, "shift": 0}}]
        assert await latency(ctx, dut.i, dut.o, payload) == Requant.LATENCY

    simulate(dut, testbench)


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(rtl_requant, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check(TEST_CONFIGS["two-lanes"], -128, 127)


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Requant(8)


@pytest.mark.verilator
@pytest.mark.parametrize("name", [  # lanes are alike; eight take minutes
    "uneven", pytest.param("two-lanes", marks=pytest.mark.long)])
def test_verilog_matches_golden(name, tmp_path):
    run_cocotb(Requant(TEST_CONFIGS[name]), testbench="tests.rtl.results.tb_requant",
               build_dir=tmp_path, env={"TB_CONFIG": name})

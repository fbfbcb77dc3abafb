import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import Layout, Opcode, Path, Source, make
from golden.core.program import Program, ProgramError, Region, align, payload_bytes
from golden.cycles import feed, product_feed, stream, timing
from golden.cycles.memory_model import IDEAL, MemoryModel
from golden.cycles.prediction_cycles import prediction_cycles
from golden.cycles.product_cycles import EPILOGUE, PLACEMENT, READER, product_cycles
from golden.cycles.timing import cycles
from golden.memory.scratchpad import READ_LATENCY
from golden.prediction import scale_unit
from golden.prediction.range_shape import RangeShape, range_cycles
from golden.prediction.scale_cycles import scale_cycles
from golden.prediction.scale_predictor import PredictorShape
from golden.product.tiling import drain_cycles
from golden.rows import layernorm, softmax_run

SMALL, LARGE = CORES["4x4"], CORES["8x16"]
CONFIGS = [SMALL, AcceleratorConfig(4, 8, lanes=4), AcceleratorConfig(8, 8, lanes=8), LARGE,
           CORES["16x32"]]
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.cols}")

FETCH = {4: 2 + 32 + 1, 8: 2 + 16 + 1, 16: 2 + 12 + 5, 32: 2 + 12 + 5}
"""Cycles of the fetch of an instruction that is there, by the bytes of a word: a unit has two
words; a word has one; it has two, and the exponents are added up behind the twelfth unit."""


def program_of(*ops, config=SMALL):
    """A program of instructions, END behind them, with payloads of zeros."""
    parts = []
    for op in (*ops, make(Opcode.END)):
        parts.append(op.encode().ljust(align(len(op.encode()), config), b"\0"))
        parts.append(bytes(payload_bytes(op, config)))
    code = b"".join(parts)
    return Program(config, code, Region(0, len(code)), Region(0, 0), Region(0, 0), 0, 1, 0, (), {})


WAIT = make(Opcode.SOFTMAX, m=5000, n=4)
"""So long that the stream behind it has come meanwhile."""


def after(*ops, config=SMALL, memory=IDEAL):
    """Cycles of the last of the instructions, whole stream in the ring, less its fetch."""
    return cycles(program_of(WAIT, *ops, config=config), memory)[-2] - FETCH[config.cols]


# From the first request on, by hand.

@pytest.mark.parametrize(("config", "memory", "last"), [
    (SMALL, IDEAL, 31 + 1 + 1), (LARGE, IDEAL, 31 + 1 + 1),
    (SMALL, MemoryModel(20), 31 + 1 + 20), (LARGE, MemoryModel(20), 31 + 1 + 20),
    (SMALL, MemoryModel(1, 2), 2 * 31 + 1 + 1), (SMALL, MemoryModel(5, 0.5), 8 * 31 + 1 + 5),
    (LARGE, MemoryModel(1, 3), 31 * 4 // 3 + 1 + 1)])
def test_the_end_comes_when_its_last_word_has_been_read(config, memory, last):
    # The first of 32 beats is requested in cycle 2, and `last` cycles later the last one is there.
    # Its word is read in the next cycle, and its last unit is offered one or two after that. In the
    # next cycle the fetch is over, then the core waits for responses, and then it is done.
    units = {4: 1, 16: 2}[config.cols]
    assert cycles(program_of(config=config), memory) == [stream.FIRST + last + 1 + units + 3]


def test_an_instruction_that_is_there_is_fetched_at_a_word_or_unit_per_cycle():
    for config in (SMALL, AcceleratorConfig(4, 8, lanes=4), LARGE):
        # The first word is read in the second cycle, and in the one behind the last the unit is
        # taken; its scales follow, then three cycles, to one of which nothing else would do.
        words = 2 if config.cols == 4 else 1
        assert after(make(Opcode.SCALES, n=4), config=config) == words + 4 + 5
        assert after(make(Opcode.SCALES, n=11), config=config) == words + 11 + 5


@pytest.mark.parametrize("memory", [IDEAL, MemoryModel(20), MemoryModel(3, 2), MemoryModel(1, 0.8)])
def test_transfers_have_the_port_to_themselves(memory):
    pace, last = memory.pace(SMALL), 1 + memory.latency

    def beats(count):
        return count * pace.numerator // pace.denominator

    # 10 beats, the first requested in the second cycle; three cycles behind the last response.
    load, store = (make(op, words=5) for op in (Opcode.LOAD, Opcode.STORE))
    assert after(load, memory=memory) == 1 + beats(9) + last + 3
    # The first word has to come. The next ones are read meanwhile, each when the one before has
    # been kept, which is seldom enough for two beats only if the port is slow.
    gaps = READ_LATENCY + 1 + 4 * (pace == 1) * (READ_LATENCY + 1 - 2)
    assert after(store, memory=memory) == 1 + beats(9) + last + 3 + gaps


@pytest.mark.parametrize(("k", "latency", "rest"), [
    (48, 1, 24 - 2 + 1), (48, 20, 24 - 21 + 1), (48, 30, 0), (4, 1, 0)])
def test_the_zeros_of_patches_are_written_while_no_response_comes(k, latency, rest):
    op = make(Opcode.PATCHES, m=5, k=k, run_bytes=k, grid=2, patch_row_bytes=64)
    assert after(op, memory=MemoryModel(latency)) == 1 + (k - 1) + 1 + latency + 3 + rest
    alone = make(Opcode.PATCHES, m=1, k=k, run_bytes=k, grid=2)
    assert after(alone, memory=MemoryModel(latency)) == 1 + k // 2 + 3


# Instructions by themselves.

@configs
@pytest.mark.parametrize(("m", "words"), [(1, 1), (5, 3), (17, 12)])
def test_norm_and_softmax_take_what_their_units_do(m, words, config):
    n = words * config.lanes
    ops = program_of(WAIT, make(Opcode.NORM, m=m, n=n),
                     make(Opcode.SOFTMAX, m=m, n=n - 1), config=config)
    _, norm, rows, _ = timing.timing(ops).steps
    assert norm.run == (READER + layernorm.cycles(m, n, config) + EPILOGUE + PLACEMENT + 1)
    assert rows.run == READER + softmax_run.cycles(m, n - 1, config) + 1
    assert norm.constants == {4: 2 * n, 8: n}.get(config.cols, n) + 3
    assert rows.constants == 0


def alone(op, config):
    """A product with all of its stream in the ring before it starts."""
    program = program_of(make(Opcode.LOAD, words=1), op, config=config)
    made = stream.stream_of(program, 1, Fraction(1))
    skipped = 2 * align(128, config) // config.cols  # words that are free already
    made[2][:skipped] = 0
    stream.advance(*made, 1 << 20, stream.NEVER)
    return product_cycles(op, config, made, skipped, 1 << 21), 1 << 21


@configs
@pytest.mark.parametrize("weights", Source, ids=lambda source: source.name)
def test_a_product_by_itself_takes_what_the_feed_says(weights, config):
    rng = random.Random(3)
    for _ in range(60):
        mode = rng.choice(list(Mode))
        rows, cols = config.tile_rows(mode), config.tile_cols(mode)
        m, n = rows * rng.randint(1, 5), cols * rng.randint(1, 3)
        k = rng.randint(2, 40)
        op = make(Opcode.GEMM, mode=mode, weights=weights, path=Path.SITE, layout=Layout.OPERAND8,
                  m=m, k=k, n=n)
        made, start = alone(op, config)
        last = start + feed.cycles(m, k, n, mode, weights, config) - 1
        assert made.end == last + EPILOGUE + PLACEMENT + 1, (m, k, n, mode)
        assert made.tapped < made.end
        assert made.array == m // rows * (n // cols) * k
        busy = made.array + made.weights + made.drain
        assert busy < made.end - start - EPILOGUE - drain_cycles(mode, config)


def test_a_residual_has_the_cycles_that_the_operands_leave():
    def end(mode, k, residual):
        op = make(Opcode.GEMM, mode=mode, path=Path.WIDE, layout=Layout.WIDE, residual=residual,
                  m=64, k=k, n=64)
        made, start = alone(op, LARGE)
        return made.end - start

    drain = drain_cycles(Mode.W4A4, LARGE)
    assert end(Mode.W4A4, 2 * drain, True) == end(Mode.W4A4, 2 * drain, False)
    assert end(Mode.W4A4, drain, True) > 1.2 * end(Mode.W4A4, drain, False)


def test_a_prediction_takes_what_its_units_do():
    config = LARGE
    tap = RangeShape(20, 32, 4, 2, 2)
    product = make(Opcode.GEMM, path=Path.WIDE, layout=Layout.WIDE, m=20, k=16, n=32, tap=1,
                   **tap.registers(config))
    shape = PredictorShape(4, 4, 9, 2, False)
    units = -(-scale_unit.beats(shape, config) * config.scale_lanes // 4)
    op = make(Opcode.PREDICT, words=units, **shape.registers())
    found = after(product, op, config=config)
    flush = range_cycles(tap, config) - 20 * tap.words(config)
    known = scale_cycles(shape, config)
    assert known < found < known + flush


# Whole programs.

def products(config):
    """Products whose weights fill the ring several times."""
    size = config.stream_words // 4
    op = make(Opcode.GEMM, path=Path.SITE, layout=Layout.OPERAND8, m=3, k=size,
              n=6 * config.tile_cols(Mode.W8A8))
    return program_of(op, make(Opcode.NORM, m=3, n=config.lanes), op, config=config)


@pytest.mark.parametrize("memory", [IDEAL, MemoryModel(20), MemoryModel(1, 1),
                                    MemoryModel(50, 2.5)])
@pytest.mark.parametrize("config", [replace(SMALL, stream_words=64), LARGE], ids=["4x4", "8x16"])
def test_no_run_is_faster_than_memory_or_the_array(config, memory):
    program = products(config)
    found = timing.timing(program, memory)
    size = program.stream.size // config.bus_bytes
    assert found.sum("reads") == program.stream.size
    assert found.cycles > size * memory.pace(config) + memory.latency
    assert found.cycles > found.sum("array") + found.sum("weights") + found.sum("drain")
    assert found.cycles < 2.2 * max(size * memory.pace(config), found.sum("array"))
    assert cycles(program, memory) == [step.cycles for step in found.steps]
    assert found.cycles == sum(cycles(program, memory))


def test_a_ring_of_one_tile_column_makes_the_array_wait():
    small, large = (replace(SMALL, stream_words=words) for words in (64, 2048))
    op = make(Opcode.GEMM, path=Path.SITE, layout=Layout.OPERAND8, m=4, k=50, n=40)
    one, many = (timing.timing(program_of(op, config=config)) for config in (small, large))
    assert one.sum("weights") > many.sum("weights") + 9 * 20
    assert one.sum("array") == many.sum("array") == 500


def prediction(config):
    """A tap whose statistics are projected, and its prediction."""
    tap = RangeShape(9, 16, 4, 2, config.tile_cols(Mode.W8A8) // config.lanes)
    product = make(Opcode.GEMM, path=Path.WIDE, layout=Layout.WIDE, m=9, k=6, n=16, tap=1,
                   **tap.registers(config))
    shape = PredictorShape(4, 3, 7, 3, True)
    units = -(-scale_unit.beats(shape, config) * config.scale_lanes // 4)
    return program_of(product, make(Opcode.PREDICT, words=units, **shape.registers()),
                      config=config)


@pytest.mark.parametrize("made", [products, prediction])
def test_compiled_and_interpreted_give_the_same(made, monkeypatch):
    program = made(replace(SMALL, stream_words=64))
    compiled = timing.timing(program, MemoryModel(7, 3))
    for module in (vars(timing), vars(stream), vars(product_feed), product_cycles.__globals__,
                   prediction_cycles.__globals__):
        for name, value in list(module.items()):
            if hasattr(value, "py_func"):
                monkeypatch.setitem(module, name, value.py_func)
    assert not hasattr(prediction_cycles.__globals__["_steps"], "py_func")
    assert timing.timing(program, MemoryModel(7, 3)) == compiled


def test_memory_has_a_pace():
    assert MemoryModel(1, 4).pace(SMALL) == IDEAL.pace(SMALL) == 1
    assert MemoryModel(1, 100).pace(SMALL) == 1
    assert MemoryModel(1, 3).pace(SMALL) == Fraction(4, 3)
    assert MemoryModel(1, 0.5).pace(replace(SMALL, cols=8, bus_bytes=8)) == 16


@pytest.mark.parametrize(("given", "error", "message"), [
    ((0,), ValueError, "latency must be within 1..10000, not 0"),
    ((1.5,), TypeError, "latency must be an integer, not 1.5"),
    ((1, 0), ValueError, "bytes per cycle must be 1/1000 or more, not 0"),
    ((1, float("nan")), ValueError, "bytes per cycle must be 1/1000 or more, not nan"),
])
def test_refuses_a_memory_that_makes_no_sense(given, error, message):
    with pytest.raises(error, match=message):
        MemoryModel(*given)


def test_refuses_what_would_never_end():
    shape = PredictorShape(2, 2, 1, 1, False)
    op = make(Opcode.PREDICT, words=3, **shape.registers())
    with pytest.raises(ProgramError, match="instruction 1, PREDICT: the range unit has seen no"):
        cycles(program_of(make(Opcode.LOAD, words=1), op))
    registers = RangeShape(4, 4, 1, 1, 1).registers(SMALL)
    tap = make(Opcode.GEMM, path=Path.WIDE, layout=Layout.WIDE, m=4, k=4, n=4, tap=1, **registers)
    with pytest.raises(ProgramError, match="instruction 1, GEMM: .* that no PREDICT has asked"):
        cycles(program_of(tap, tap))
    assert np.all(np.array(cycles(program_of(tap, op))) > 0)


# Programs that end at an EXIT.

def exiting(*behind, config=SMALL):
    return program_of(make(Opcode.SOFTMAX, m=1, n=4), make(Opcode.EXIT, exponent=9000), *behind,
                      config=config)


LOADS = [make(Opcode.LOAD, words=4)] * 200
"""More than the ring has room for."""


@configs
def test_an_exit_that_goes_on_takes_two_cycles(config):
    assert after(make(Opcode.EXIT, exponent=1), config=config) == 2


@pytest.mark.parametrize("latency", [1, 5, 20, 200])
def test_an_exit_waits_for_what_has_been_requested(latency):
    """Requests of a word follow each other, the last of them in the first cycle of the end; it is
    taken a cycle later, answered, and that is seen a cycle later."""
    program = exiting(*LOADS)
    whole = timing.timing(program, MemoryModel(latency))
    found = timing.timing(program, MemoryModel(latency), 1)
    *before, end = found.steps
    assert before == list(whole.steps[:1])
    assert [step.instruction.opcode for step in found.steps] == [Opcode.SOFTMAX, Opcode.EXIT]
    assert (end.fetch, end.constants) == (whole.steps[1].fetch, 0)
    begun = found.cycles - end.run
    assert end.run == 1 + latency + 1 + 1
    beats = begun - stream.FIRST + 1  # one in each cycle
    assert found.sum("reads") == beats * program.config.bus_bytes


def test_a_stream_that_has_come_to_its_end_is_not_waited_for():
    program = exiting()
    slow = replace(program, stream=Region(0, 2 * 128))  # END is never asked for
    with pytest.raises(ProgramError, match="the stream has ended without END"):
        timing.timing(slow, IDEAL, 1)
    ops = [make(Opcode.SOFTMAX, m=500, n=4), make(Opcode.EXIT)]
    found = timing.timing(program_of(*ops), MemoryModel(20), 1)
    assert found.steps[-1].run == 1
    assert found.sum("reads") == 3 * 128


def test_a_full_ring_is_not_waited_for():
    program = program_of(make(Opcode.SOFTMAX, m=5000, n=4), make(Opcode.EXIT), *LOADS, *LOADS)
    found = timing.timing(program, MemoryModel(20), 1)
    begun = found.cycles - found.steps[-1].run
    # Where words are freed by the fetch of EXIT, as many are requested until it ends.
    assert found.sum("reads") <= (SMALL.stream_words + 64) * SMALL.cols
    assert found.sum("reads") > SMALL.stream_words * SMALL.cols
    assert begun > 5000
    assert found.steps[-1].run <= 1 + 20 + 2


@pytest.mark.parametrize(("exited", "message"), [
    (0, "exited must be the index of an EXIT, not 0, of SOFTMAX"),
    (2, "exited must be the index of an EXIT, not 2, of END"),
    (3, r"exited must be within 0\.\.2, not 3")])
def test_a_program_ends_only_at_an_exit(exited, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        timing.timing(exiting(), IDEAL, exited)

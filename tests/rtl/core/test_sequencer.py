# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.core.isa import (
    CODEBOOK_UNITS,
    FIELD_UNITS,
    FIELDS,
    INSTRUCTION_BYTES,
    INSTRUCTION_UNITS,
    PAIRS,
    SCALES,
    Instruction,
    Opcode,
    Status,
    fields_of,
    pack,
    unpack,
)
from golden.cycles.timing import RESOLVE, START
from rtl.core.sequencer import Phase
from rtl.memory.weight_buffer import take_layout
from tests.benches.sequencer_system import System
from tests.benches.simulate import simulate
from tests.benches.streams import held

LEGAL = [*map(Opcode, range(1, 10)), Opcode.EXIT, Opcode.TABLE]
ILLEGAL = [code for code in range(16) if code not in LEGAL]


def word(opcode, **fields):
    """An instruction as a number; fields of others are allowed, as they are to hardware."""
    return pack({"opcode": opcode, **fields}, FIELDS)


def random_instruction(opcode, rng, **fields):
    """Random values in all fields of an instruction, and a few units of payload."""
    values = {name: rng.randint(FIELDS[name].min, FIELDS[name].max) for name in fields_of(opcode)}
    for name in ("n", "words", "statistics"):
        if name in values:
            values[name] = rng.randint(1, 9)
    made = Instruction(opcode, {**values, **fields})
    return int.from_bytes(made.encode(), "little")


def random_program(rng, count):
    """Instructions of all kinds, a PREDICT for every tap, and END."""
    program, tapped = [], False
    for index in range(count):
        opcode = LEGAL[index % len(LEGAL)]
        if opcode is Opcode.PREDICT and not tapped or opcode is Opcode.END:
            opcode = Opcode.GEMM
        chosen = {}
        if opcode is Opcode.EXIT:
            chosen["exponent"] = rng.randrange(9000)
        if opcode is Opcode.GEMM:
            chosen["tap"] = rng.randrange(2) if not tapped else 0
        program.append(random_instruction(opcode, rng, **chosen))
        tapped = tapped and opcode is not Opcode.PREDICT or bool(chosen.get("tap"))
    return [*program, word(Opcode.END)]


def model(program, exponent=9000):
    """Return what a program should ask for, what it should run, and how it should end: with which
    status, and whether at an EXIT.
    """
    takes, runs, tapped = [], [], False
    for code in program:
        op = unpack(code, FIELDS)
        opcode, tap = op["opcode"], op["opcode"] == Opcode.GEMM and op["tap"]
        takes.append(INSTRUCTION_UNITS)
        if (opcode in ILLEGAL or tap and tapped or opcode == Opcode.PREDICT and not tapped):
            return takes, runs, Status.ILLEGAL_INSTRUCTION, 0
        if opcode == Opcode.END:
            return takes, runs, Status.FINE, 0
        if opcode == Opcode.EXIT and exponent <= op["exponent"]:
            return takes, runs, Status.FINE, 1
        runs.append(code)
        if opcode in (Opcode.SCALES, Opcode.TABLE):
            takes.append(-(-op["n"] // len(SCALES)))
        elif opcode == Opcode.NORM:
            takes.append(op["n"])
        elif opcode == Opcode.SOFTMAX and op["step"]:
            takes.append(CODEBOOK_UNITS)
        elif opcode == Opcode.PREDICT:
            takes += [-(-op["statistics"] // PAIRS), op["words"]]
            tapped = False
        tapped = tapped or bool(tap)
    raise AssertionError("a program must end")


def check(programs, **kinds):
    """Run programs one after the other, and compare; return the system."""
    system = System(**kinds)
    dut = system.dut

    async def control(ctx):
        system.load([])
        assert not ctx.get(dut.done)
        for program in programs:
            status = await system.run(ctx, program)
            for _ in range(3):  # stays as it is
                assert ctx.get(dut.done)
                assert not ctx.get(dut.busy)
                assert ctx.get(dut.status) == status
                await ctx.tick()
            takes, runs, expected, exited = model(program, system.exponent)
            mask = (1 << sum(fmt.bits for fmt in FIELDS.values())) - 1
            assert system.takes == takes
            assert system.runs == [code & mask for code in runs]
            assert status == expected
            assert (ctx.get(dut.index), ctx.get(dut.exited)) == (len(runs), exited)

    simulate(dut, control, monitors=[system.around, held(dut.take)], max_cycles=30_000)
    return system


@pytest.mark.parametrize("kinds", [{}, {"idle": 0.5}, {"idle": 0.2, "resolve": 20, "run": 7}])
def test_carries_out_programs(kinds):
    rng = random.Random(3)
    check([random_program(rng, 20) for _ in range(3)], **kinds)


def test_counts_hundreds_of_instructions():
    check([[word(Opcode.STORE)] * 260 + [word(Opcode.END)]])


@pytest.mark.parametrize("code", ILLEGAL)
def test_ends_at_an_illegal_opcode(code):
    rng = random.Random(4)
    rest = rng.getrandbits(8 * INSTRUCTION_BYTES - 4) << 4
    program = [random_instruction(Opcode.LOAD, rng), rest | code]
    check([program, random_program(rng, 9)])


@pytest.mark.parametrize("exponent", [1, 8186, 9000, 20474, (1 << 15) - 1])
def test_an_exit_ends_a_program_whose_answer_is_sure(exponent):
    def program(threshold):
        return [word(Opcode.STORE), word(Opcode.EXIT, exponent=threshold), word(Opcode.NORM, n=2),
                word(Opcode.END)]

    thresholds = sorted({0, exponent - 1, exponent, min(exponent + 1, (1 << 15) - 1),
                         (1 << 15) - 1})
    ends = [model(program(threshold), exponent)[3] for threshold in thresholds]
    assert ends == sorted(ends)
    assert set(ends) == {0, 1}
    check([program(threshold) for threshold in thresholds], exponent=exponent)


def test_the_first_of_several_exits_that_is_sure_ends_the_program():
    check([[word(Opcode.EXIT, exponent=threshold) for threshold in (8999, 0, 9000, 9001)]
           + [word(Opcode.END)]])


def test_what_is_illegal_is_no_exit():
    check([[word(Opcode.EXIT, exponent=9000)], [word(Opcode.GEMM, tap=1), word(15)],
           [word(Opcode.EXIT, exponent=9001)], [word(Opcode.END)]])


def tapping(tap=1):
    return word(Opcode.GEMM, tap=tap)


PREDICT = word(Opcode.PREDICT, statistics=3, words=2)
END = word(Opcode.END)


@pytest.mark.parametrize("program", [
    [PREDICT, END],
    [tapping(0), PREDICT, END],
    [word(Opcode.NORM, n=1, tap=1), PREDICT, END],
    [tapping(), tapping(), END],
    [tapping(), tapping(0), tapping(), END],
    [tapping(), PREDICT, PREDICT, END],
], ids=["no tap", "no tap of a product", "tap of a NORM", "two taps", "two taps apart",
        "two PREDICTs"])
def test_ends_where_taps_and_predictions_do_not_alternate(program):
    assert model(program)[2] == Status.ILLEGAL_INSTRUCTION
    check([program])


def test_taps_and_predictions_alternate():
    program = [tapping(), tapping(0), PREDICT, tapping(), word(Opcode.STORE), PREDICT, END]
    assert model(program)[2] == Status.FINE
    check([program])


def test_start_forgets_the_tap():
    check([[tapping(), END], [tapping(), PREDICT, END], [tapping(), END], [PREDICT, END]])


@pytest.mark.parametrize("size", ["least", "most"])
def test_asks_for_payloads_of_all_sizes(size):
    units = 1 if size == "least" else (1 << take_layout["units"].shape) - 1
    statistics = 1 if size == "least" else PAIRS * units
    check([[word(Opcode.SCALES, n=units), word(Opcode.NORM, n=units), tapping(),
            word(Opcode.PREDICT, statistics=statistics, words=units),
            word(Opcode.SOFTMAX, step=FIELDS["step"].min if size == "least" else 1), END]])
    check([[word(Opcode.SCALES, n=count), END] for count in range(1, 10)])


@pytest.mark.parametrize("resolve", [RESOLVE, 12])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_runs_when_exponents_and_units_have_come(idle, resolve):
    system = System(idle=idle, resolve=resolve)

    async def control(ctx):
        for _ in range(10):
            await system.run(ctx, [word(Opcode.STORE), END])
            assert system.phases[:START + 1] == [Phase.IDLE] * START + [Phase.FETCH]
            # They are added up until the unit behind the fields has come.
            come = max(system.accepted[INSTRUCTION_UNITS - 1] + 1,
                       system.accepted[FIELD_UNITS] + 1 + resolve)
            assert system.phases.index(Phase.RUN) == come + 1

    simulate(system.dut, control, monitors=[system.around])


def test_an_instruction_takes_two_cycles_at_least():
    system = check([[word(Opcode.STORE)] * 3 + [END]])
    fetch = 1 + INSTRUCTION_UNITS + 1
    assert system.phases[1:][:3 * (fetch + 2)] == ([Phase.FETCH] * fetch + [Phase.RUN] * 2) * 3


PARTS = [word(Opcode.NORM, n=2), tapping(), PREDICT, word(Opcode.STORE), END]


@pytest.mark.parametrize(("name", "expected"), [("error", Status.BUS_ERROR),
                                                ("starved", Status.ILLEGAL_INSTRUCTION)])
def test_ends_in_whichever_cycle_something_goes_wrong(name, expected):
    whole = check([PARTS]).phases
    end = whole.index(Phase.DRAIN) - 1
    system = System()

    async def control(ctx):
        for cycle in range(1, end):
            system.stop = {name: cycle}
            status = await system.run(ctx, PARTS)
            assert status == expected, f"in cycle {cycle}"
            # Nothing but what was done up to then, and no more.
            assert system.phases[:cycle + 1] == whole[:cycle + 1]
            assert system.phases[cycle + 1] == Phase.DRAIN
            done = sum(pair == (Phase.RUN, Phase.FETCH)
                       for pair in zip(whole[:cycle], whole[1:cycle + 1], strict=True))
            counted = ctx.get(system.dut.index) - done
            assert counted in ((0, 1) if name == "starved" else (0,)), f"in cycle {cycle}"
        system.stop = {}
        assert await system.run(ctx, PARTS) == Status.FINE

    simulate(system.dut, control, monitors=[system.around], max_cycles=20_000)


@pytest.mark.parametrize("wrong", [False, True])
def test_waits_for_responses_at_the_end(wrong):
    drain = check([[END]]).phases.index(Phase.DRAIN)
    system = System()
    system.stop = {"drained": drain + 7, **({"error": drain + 3} if wrong else {})}

    async def control(ctx):
        status = await system.run(ctx, [END])
        assert status == (Status.BUS_ERROR if wrong else Status.FINE)
        assert system.phases[drain:drain + 9] == [Phase.DRAIN] * 8 + [Phase.IDLE]

    simulate(system.dut, control, monitors=[system.around])

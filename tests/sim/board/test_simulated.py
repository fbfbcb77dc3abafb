"""A board that is simulated, driven by the host's program through its serial port."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode, make
from golden.core.machine import Machine
from golden.core.program import Program, Region, align, payload_bytes
from golden.cycles.timing import timing
from golden.network.cascade import Cascade, CascadeVit
from golden.network.precision import Precision
from golden.network.vit import Vit
from golden.soc.link import BLOCK, Status
from golden.soc.registers import REGISTERS, ErrorSource
from sim.board import __main__ as command
from sim.board import opened
from sim.board.board import Board
from sim.board.errors import LinkError, Refused, RunFailed, WrongCore
from sim.board.link import Link
from sim.board.simulated import MEMORY, SimulatedBoard
from sim.cli import UserError
from sim.compiler import compile_cascade, compile_network
from sim.inference.backends import BACKENDS, CoreOptions
from sim.inputs.model_lookup import open_model
from tests.cases import shipped
from tests.cases.networks import network, pixels
from tests.cases.programs import random_program
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.harness.test_core import DEIT_T
from tests.sim.test_emulate import with_tap

pytestmark = pytest.mark.verilator
CORE = CORES["4x4"]


@pytest.fixture(scope="module")
def simulated():
    with SimulatedBoard(CORE) as made:
        yield made


@pytest.fixture
def board(simulated):
    with contextlib.closing(simulated.open()) as port:
        yield Board(Link(port), simulated)
    assert simulated.trouble() == ""


def golden(program, image):
    machine = Machine(program, image)
    machine.run()
    return machine.logits


def checked(board, simulated, program, image):
    """Run an image that must have the logits of golden and the cycles of the estimator."""
    before = len(simulated.runs())
    found = board.run(program, image)
    assert (found.logits == golden(program, image)).all()
    assert found.cycles == cycles_checked(simulated, before, program)
    return found


def cycles_checked(simulated, before, program, exited=None):
    """Hold the cycles of each instruction of the one run since `before` against the estimator's;
    return what the core must have counted, from the cycle after its start on.
    """
    (run,) = simulated.runs()[before:]
    *lengths, last, end = (step.cycles for step in timing(program, MEMORY, exited).steps)
    assert run.instruction_cycles == [*lengths, last + end]
    return run.cycles - 1


def test_a_program_and_images_go_whole_through_the_line(board, simulated):
    program = compile_network(network(Precision(8, 8), shape=SHAPE), CORE)
    done = []
    assert board.load(program, frames=True, progress=lambda *bytes_: done.append(bytes_))
    size = -(-len(program.memory) // CORE.bus_bytes) * CORE.bus_bytes
    assert done[-1] == (size, size)
    assert len(done) == -(-size // BLOCK)
    assert not board.load(program)
    assert board.link.read(0, len(program.memory)) == program.memory
    assert simulated.get(0, len(program.memory)) == program.memory
    found = [checked(board, simulated, program, image) for image in pixels(2, SHAPE)]
    assert (found[0].logits != found[1].logits).any()
    assert found[0].cycles == found[1].cycles
    assert board.link.peek("RUNS") == len(simulated.runs())


@pytest.mark.parametrize("room", [True, False], ids=["places", "none"])
def test_the_next_image_is_sent_while_one_runs(board, simulated, room, monkeypatch):
    program, images = compile_network(network(Precision(8, 8), shape=SHAPE), CORE), pixels(3, SHAPE)
    board.load(program)
    if not room:
        monkeypatch.setattr(Board, "_offsets", lambda board, program: [0])
    done = []

    def watched(name, step):
        def noted(board, *args):
            done.append((name, args[-2] if name == "_result" else args[-1]))  # and the offset
            return step(board, *args)
        monkeypatch.setattr(Board, name, noted)

    for name in ("_send", "_start", "_result"):
        watched(name, getattr(Board, name))
    found = [ran.logits.tolist() for ran in board.run_all(program, images)]
    assert found == [golden(program, image).tolist() for image in images]
    second = board._offsets(program)[-1]
    assert (second > 0) == room
    first, other, last = ([(name, offset) for name in ("_send", "_start", "_result")]
                          for offset in (0, second, 0))
    # With room, the next image is sent between the start of one and its result.
    assert done == ([*first[:2], other[0], first[2], other[1], last[0], other[2], *last[1:]]
                    if room else first + other + last)


def test_images_of_a_start_that_the_first_network_of_a_cascade_answers(board, simulated):
    first, second = network(Precision(4, 4), shape=SHAPE), network(Precision(8, 8), seed=5,
                                                                   shape=SHAPE)
    images = pixels(5, SHAPE)
    doubts = CascadeVit(Cascade(first, second, 0)).run(images).doubts
    cascade = Cascade(first, second, int(np.median(doubts)))
    wanted, program = CascadeVit(cascade).run(images), compile_cascade(cascade, CORE)
    assert 0 < wanted.exited.sum() < len(images)
    board.load(program)
    before = len(simulated.runs())
    stride = -(-len(program.memory) // 64) * 64
    for number, image in enumerate(images, start=1):
        board._send(program, image, number * stride)
    for name, value in {"IMAGE_OFFSET": stride, "LOGITS_OFFSET": stride, "IMAGE_STRIDE": stride,
                        "LOGITS_STRIDE": stride, "IMAGES": len(images)}.items():
        board.link.poke(name, value)
    board.link.poke("CONTROL", 1)
    board._wait(program, None)
    assert board.link.peek("IMAGES_DONE") == len(images) + (int(wanted.exited.sum()) << 16)
    for number, logits in enumerate(wanted.logits, start=1):
        place = program.logits.address + number * stride
        found = np.frombuffer(board.link.read(place, 2 * program.classes), "<i2")
        assert found.tolist() == logits.tolist()
    counts = [len(run.instruction_cycles) for run in simulated.runs()[before:]]
    left, whole = program.about["cascade"]["exit"], len(program.instructions()) - 1
    assert counts == [left if exited else whole for exited in wanted.exited]


def test_several_images_of_one_start(board, simulated):
    program, images = compile_network(network(Precision(4, 4), shape=SHAPE), CORE), pixels(3, SHAPE)
    board.load(program)
    before, runs = len(simulated.runs()), board.link.peek("RUNS")
    stride = -(-len(program.memory) // 64) * 64
    for number, image in enumerate(images, start=1):
        board._send(program, image, number * stride)
    for name, value in {"IMAGE_OFFSET": stride, "LOGITS_OFFSET": stride, "IMAGE_STRIDE": stride,
                        "LOGITS_STRIDE": stride, "IMAGES": len(images)}.items():
        board.link.poke(name, value)
    board.link.poke("CONTROL", 1)
    board._wait(program, None)
    assert board.link.peek("IMAGES_DONE") == len(images)
    assert board.link.peek("RUNS") == runs + 1
    for number, image in enumerate(images, start=1):
        place = program.logits.address + number * stride
        found = np.frombuffer(board.link.read(place, 2 * program.classes), "<i2")
        moved = Machine(program, image, image_offset=number * stride,
                        logits_offset=number * stride)
        moved.run()
        assert found.tolist() == moved.logits.tolist() == golden(program, image).tolist()
    assert simulated.get(0, len(program.memory)) == program.memory
    for number, run in enumerate(simulated.runs()[before:], start=1):
        moved = timing(program, MEMORY, image_offset=number * stride, logits_offset=number * stride)
        *lengths, last, end = (step.cycles for step in moved.steps)
        assert run.instruction_cycles == [*lengths, last + end]
    assert len(simulated.runs()) == before + len(images)


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_the_shipped_model(board, simulated, bits):
    made = open_model(f"vit_cifar10:{bits}").network
    program = compile_network(made, CORE)
    assert board.load(program)
    found = checked(board, simulated, program, pixels(1, made.shape)[0])
    assert found.counters["array"] > 0.7 * found.cycles


def blank():
    """A program that fills scratchpad and scale file with zeros, as the golden machine begins."""
    data = 1 << 12
    ops = (make(Opcode.LOAD, address=data, words=CORE.scratchpad_words),
           make(Opcode.SCALES, n=CORE.max_sites), make(Opcode.END))
    code = b"".join(op.encode().ljust(align(len(op.encode()), CORE), b"\0")
                    + bytes(payload_bytes(op, CORE)) for op in ops)
    memory = code.ljust(data, b"\0") + bytes(CORE.scratchpad_words * CORE.word_bytes)
    return Program(CORE, memory, Region(0, len(code)), Region(0, 0), Region(0, 0), 0, 1, 0, (), {})


@pytest.mark.parametrize("seed", range(300, 308))
def test_random_programs(board, simulated, seed):
    board.load(blank())
    board.execute(blank())
    program = random_program(seed, CORE, 40)
    board.load(program)
    before = len(simulated.runs())
    board.execute(program)
    machine = Machine(program)
    machine.run()
    assert board.link.peek("CYCLES_LOW") == cycles_checked(simulated, before, program,
                                                           machine.exited)
    assert board.link.peek("IMAGES_DONE") == 1 + ((machine.exited is not None) << 16)
    assert simulated.get(0, len(program.memory)) == machine.memory.tobytes()


def test_what_is_no_frame_harms_nothing(board, simulated):
    simulated.put(4096, bytes(range(64)))
    port = board.link._port
    port.timeout = 2
    port.write(bytes(range(256)) * 2)
    port.write(b"\x7e\x03\x05half a frame")
    board.link._drain()
    board.link.ping()
    assert board.link.read(4096, 64) == bytes(range(64))


def test_memory_is_tested_all_over(board, simulated):
    done = []
    assert board.memtest(4 * BLOCK, progress=lambda *bytes_: done.append(bytes_)) == 4 * BLOCK
    assert done[-1] == (16 * BLOCK, 16 * BLOCK)
    places = [number << MEMORY.chip.size_bits - 2 for number in range(4)]
    assert len({simulated.get(place, BLOCK) for place in places}) == 4
    assert simulated.get(places[1] + BLOCK, BLOCK) == bytes(BLOCK)


def test_a_run_that_fails_says_which_instruction_and_why(board, simulated):
    program = compile_network(network(Precision(4, 4), shape=SHAPE), CORE)
    broken = bytearray(program.memory)
    places = program.instructions()
    broken[places[5][0]] = 0xFF  # no opcode
    broken = dataclasses.replace(program, memory=bytes(broken))
    board.load(broken)
    with pytest.raises(RunFailed, match=r"^instruction 5: the core does not know it"):
        board.run(broken, pixels(1, SHAPE)[0])
    assert simulated.runs()[-1].cycles > 0
    assert board.load(program)
    checked(board, simulated, program, pixels(1, SHAPE)[0])


def test_a_stream_beyond_memory_is_a_bus_error(board):
    program = compile_network(network(Precision(4, 4), shape=SHAPE), CORE)
    board.load(program)
    board.link.poke("STREAM", board.system.memory_bytes)
    with pytest.raises(RunFailed, match=r"^instruction 0 \(\w+\): memory has answered with an er"):
        board.run(program, pixels(1, SHAPE)[0])
    assert board.link.peek("ERROR_SOURCE") == ErrorSource.STREAM
    assert board.link.peek("ERROR_ADDRESS") == board.system.memory_bytes
    assert board.link.peek("INTERRUPT_PENDING") >> 1 == 1


def test_programs_that_the_board_cannot_run_are_refused(board):
    program = compile_network(network(Precision(4, 4), shape=SHAPE), CORES["8x16"])
    with pytest.raises(WrongCore, match="the board's core has rows 4, and the program is for 8"):
        board.load(program)
    program = compile_network(network(Precision(4, 4), shape=SHAPE), CORE)
    large = dataclasses.replace(program, memory=bytes(1 << MEMORY.chip.size_bits))
    with pytest.raises(WrongCore, match=r"needs 67,108,896 bytes of memory, and the board has 67,"):
        board.load(large)
    board.link._port.timeout = 1  # what may still come behind an error is waited for
    with pytest.raises(Refused) as caught:
        board.link.poke("ID", 1)
    assert caught.value.status == Status.REFUSED
    assert "INDEX" in REGISTERS


@pytest.fixture
def at(monkeypatch, simulated):
    """Have the commands use the board that is there."""
    @contextlib.contextmanager
    def found(config):
        assert config == CORE
        yield simulated

    monkeypatch.setattr(opened, "SimulatedBoard", found)
    return ["--port", "simulated:4x4"]


def test_commands(at, tmp_path, capsys):
    prepared = open_model("vit_cifar10").metadata["preprocessing"]
    about = {"preprocessing": prepared | {"input_size": [3, SHAPE.image, SHAPE.image]}}
    program = dataclasses.replace(
        compile_network(network(Precision(4, 4), shape=SHAPE), CORE), about=about)
    program.save(tmp_path / "program")
    image = next(shipped.images(tmp_path / "images", 1, SHAPE.image).rglob("*.png"))
    assert command.main(["info", *at]) == 0
    assert "4x4" in capsys.readouterr().out
    assert command.main(["load", str(tmp_path / "program"), *at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(program.memory)
    assert command.main(["run", str(image), "--program", str(tmp_path / "program"), "--check",
                         *at]) == 0
    said = capsys.readouterr().out
    assert "equal" in said
    assert max(map(len, said.splitlines())) <= 80
    assert command.main(["counters", *at, "--json"]) == 0
    cycles = json.loads(capsys.readouterr().out)["counters"]["cycles"]
    assert f"{cycles:,}" in said
    assert command.main(["memtest", "--bytes", "2048", *at]) == 0
    assert "2,048 bytes hold" in capsys.readouterr().out


def test_a_network_is_compiled_for_the_core_that_is_there(at):
    made = network(Precision(6, 6), shape=SHAPE)
    run = BACKENDS["board"](made, CoreOptions(port=at[1], check=True))
    images = pixels(2, SHAPE)
    assert (run(images) == Vit(made).run(images).logits).all()


@pytest.mark.long
@pytest.mark.parametrize("bits", ["w4a4", "w8a8"])
def test_deit_tiny_whole_on_the_core_of_the_board(bits):
    """Random weights, and scales that are predicted."""
    made = with_tap(network(Precision.parse(bits), shape=DEIT_T), DEIT_T)
    program = compile_network(made, CORES["8x8"], memory=MEMORY)
    (image,) = pixels(1, DEIT_T)
    with SimulatedBoard(CORES["8x8"]) as simulated, contextlib.closing(simulated.open()) as port:
        board = Board(Link(port), simulated)
        board.load(program)
        found = checked(board, simulated, program, image)
        assert found.counters["predict"] > 0
        assert simulated.trouble() == ""
    assert (found.logits == Vit(made).run(image[None]).logits[0]).all()


@pytest.mark.parametrize(("words", "message"), [
    (["--port", "simulated:5x5"], "--port simulated must be one of the cores 4x4, 8x8, 8x16"),
    (["--port", "/dev/nowhere"], "cannot open /dev/nowhere"),
])
def test_ports_that_there_are_not_are_one_line(words, message, capsys):
    assert command.main(["info", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]


def test_a_simulation_that_has_ended_is_one_line(monkeypatch):
    class Ended:
        trouble = staticmethod(lambda: "violations 32")
        open = staticmethod(io.BytesIO)

        def __enter__(self):
            return self

        def __exit__(self, *about):
            pass

    monkeypatch.setattr(opened, "SimulatedBoard", lambda config: Ended())
    with (pytest.raises(UserError, match="^the simulation of the board has ended: violations 32$"),
          opened.open_board("simulated")):
        raise LinkError("gone")

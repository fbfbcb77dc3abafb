"""EXIT: which answers end a program on the golden machine, and what is refused."""

from math import log2

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode, make
from golden.core.machine import Machine
from golden.core.program import Program, ProgramError, Region
from golden.core.rules import check, verify

CONFIG = CORES["4x4"]
DATA = 256
HIGHEST = (1 << 15) - 1


def softmax(m, n):
    return make(Opcode.SOFTMAX, m=m, n=n, source_stride=-(-n // CONFIG.lanes), dest=200,
                dest_stride=-(-n // 2))


def program_of(*ops, scores=()):
    """Load rows of scores, whole words each, carry out the instructions, and store something."""
    load = make(Opcode.LOAD, words=DATA // CONFIG.word_bytes)
    stores = [make(Opcode.STORE, address=0, words=1), make(Opcode.END)]
    stream = b"".join(op.encode() for op in (load, *ops, *stores))
    rows = np.zeros((len(scores) or 1, -(-max(map(len, scores), default=0) // 4) * 4), "<i2")
    for row, values in enumerate(scores):
        rows[row, :len(values)] = values
    data = rows.tobytes().ljust(DATA, b"\0")
    return Program(CONFIG, data + stream, Region(DATA, len(stream)), Region(0, 0), Region(0, DATA),
                   0, 1, 0, (), {})


def exit_at(exponent):
    return make(Opcode.EXIT, exponent=exponent)


def doubt(scores):
    """log2 of the sum of operands as they are defined, with 10 fractional bits, not rounded."""
    operands = [round(2**((8186 + score - max(scores)) / 1024)) for score in scores]
    return 1024 * log2(sum(operands))


@pytest.mark.parametrize("scores", [[700], [0, 0, 0, 0, 0], [3000, -200, 1900, 2999, 0, 0, 1],
                                    [32767, -32768], [5, 5, 5 - 1024, 5 - 2048, 5 - 4096]])
def test_a_program_ends_where_the_answer_is_sure_enough(scores):
    exact = doubt(scores)
    for threshold, sure in ((int(exact) + 2, True), (int(exact) - 2, False)):
        program = program_of(softmax(1, len(scores)), exit_at(threshold), scores=[scores])
        verify(program)
        machine = Machine(program)
        machine.run()
        assert machine.exited == (2 if sure else None)
        assert machine.index == (3 if sure else 5)
        assert machine.done
        with pytest.raises(ProgramError, match="the program has ended"):
            machine.step()


def test_the_threshold_itself_is_sure_enough():
    ends = []
    for threshold in (8185, 8186, 8187):
        machine = Machine(program_of(softmax(1, 1), exit_at(threshold), scores=[[9]]))
        machine.run()
        ends.append(machine.exited)
    assert ends == [None, 2, 2]  # log2(255) is 8186 / 1024


def test_the_last_row_of_the_last_softmax_counts():
    scores = [[0] * 4, [20000, 0, 0, 0], [0] * 4]
    for rows, sure in ((1, False), (2, True), (3, False)):
        machine = Machine(program_of(softmax(1, 1), softmax(rows, 4), exit_at(8200),
                                     scores=scores))
        machine.run()
        assert (machine.exited is not None) == sure


def test_the_first_exit_that_is_sure_ends_the_program():
    machine = Machine(program_of(softmax(1, 1), exit_at(0), exit_at(8186), exit_at(9000),
                                 scores=[[9]]))
    machine.run()
    assert machine.exited == 3


def test_there_must_have_been_a_softmax():
    with pytest.raises(ProgramError, match="instruction 1 at .*: there has been no SOFTMAX"):
        Machine(program_of(exit_at(8186))).run()


@pytest.mark.parametrize("exponent", [-1, HIGHEST + 1])
def test_a_threshold_is_a_row_exponent(exponent):
    for legal in (0, HIGHEST):
        check(exit_at(legal), CONFIG, 0)
    with pytest.raises(ValueError, match=rf"^exponent must be within 0\.\.32767, not {exponent}$"):
        check(exit_at(exponent), CONFIG, 0)

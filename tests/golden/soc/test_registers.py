from dataclasses import fields

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.core.counters import COUNTERS
from golden.soc.registers import (
    BY_ADDRESS,
    REGISTERS,
    WORD_BITS,
    Access,
    Answer,
    ErrorSource,
    RegisterFile,
    constants,
    writable,
)
from golden.soc.system import System

SYSTEM = System(CORES["8x16"], 50_000_000, 1 << 25)


@pytest.fixture
def file():
    return RegisterFile(SYSTEM)


def read(file, name):
    value, answer = file.read(REGISTERS[name].address)
    assert answer == Answer.DONE
    return value


def test_addresses_are_those_that_hosts_know():
    known = {"ID": 0, "VERSION": 4, "CLOCK_HZ": 8, "MEMORY_BYTES": 12, "ENCODING": 16,
             "CONFIG_ROWS": 0x40,
             "CONFIG_KEY_WORDS": 0x7c, "CONTROL": 0x100, "STATUS": 0x104, "INDEX": 0x108,
             "RUNS": 0x10c, "STREAM": 0x110, "STREAM_BYTES": 0x114,
             "INTERRUPT_ENABLE": 0x118, "BASE_HIGH": 0x12c, "IMAGE_OFFSET": 0x130,
             "IMAGES_DONE": 0x144, "CYCLES_LOW": 0x160,
             "CYCLES_HIGH": 0x164, "WRITES_HIGH": 0x1b4}
    assert {name: REGISTERS[name].address for name in known} == known
    assert len(BY_ADDRESS) == len(REGISTERS)
    assert list(BY_ADDRESS) == sorted(BY_ADDRESS)
    assert not [address for address in BY_ADDRESS if address % 4]


def test_images_of_a_start_have_places(file):
    for name, value in {"IMAGE_OFFSET": 0x1002, "LOGITS_OFFSET": 0xffffffff, "IMAGE_STRIDE": 0x100,
                        "LOGITS_STRIDE": 8, "IMAGES": 0x70003}.items():
        assert file.write(REGISTERS[name].address, value) == Answer.DONE
    assert read(file, "IMAGES") == 3
    bus = SYSTEM.config.bus_bytes
    first, last = 0x1002 // bus * bus, 0x100000000 - bus
    file.write(REGISTERS["CONTROL"].address, 1)
    assert file.places == [(first, last), (first + 0x100, last + 8 & 0xffffffff),
                           (first + 0x200, last + 16 & 0xffffffff)]
    file.write(REGISTERS["IMAGES"].address, 0)
    file.write(REGISTERS["CONTROL"].address, 1)
    assert file.places == [(first, last)]


@pytest.mark.parametrize("name", ["STREAM", "STREAM_BYTES", "IMAGE_STRIDE", "LOGITS_STRIDE"])
def test_what_later_images_need_is_refused_during_a_run(file, name):
    place = REGISTERS[name].address
    assert file.write(place, 0x100) == Answer.DONE
    file.core.busy = 1
    assert (file.write(place, 0x200), file.read(place)) == (Answer.REFUSED, (0x100, Answer.DONE))
    assert file.write(REGISTERS["IMAGE_OFFSET"].address, 0x200) == Answer.DONE
    file.core.busy = 0
    assert file.write(place, 0x200) == Answer.DONE


def test_every_choice_and_every_counter_has_a_register():
    names = {f"CONFIG_{one.name.upper()}" for one in fields(AcceleratorConfig)}
    names |= {f"{name.upper()}_{half}" for name in COUNTERS for half in ("LOW", "HIGH")}
    assert names < REGISTERS.keys()


def test_fields_are_within_their_registers_and_apart():
    for register in REGISTERS.values():
        taken = 0
        for field in register.fields:
            assert not taken & field.mask
            assert field.mask < 1 << WORD_BITS
            taken |= field.mask
        assert register.mask == (taken or (1 << WORD_BITS) - 1)
        assert register.doc
        assert not register.doc.endswith(".")


def test_constants_tell_of_the_system(file):
    assert bytes(read(file, "ID").to_bytes(4, "little")) == b"VRNR"
    assert (read(file, "CLOCK_HZ"), read(file, "MEMORY_BYTES")) == (50_000_000, 1 << 25)
    assert (read(file, "CONFIG_ROWS"), read(file, "CONFIG_COLS")) == (8, 16)
    assert all(REGISTERS[name].access is Access.READ for name in constants(SYSTEM))


def test_what_the_core_shows_is_read(file):
    file.core.busy, file.core.status, file.core.index = 1, 2, 300
    file.core.counters["drain"] = (5 << 32) + 6
    assert read(file, "STATUS") == 0x201
    file.core.done = 1
    status = read(file, "STATUS")
    assert [field.of(status) for field in REGISTERS["STATUS"].fields] == [1, 1, 2]
    file.core.images_done, file.core.images_exited = 7, 5
    assert read(file, "IMAGES_DONE") == 0x50007
    images = REGISTERS["IMAGES_DONE"]
    assert [images.field(name).of(0x50007) for name in ("count", "exited")] == [7, 5]
    assert read(file, "INDEX") == 300
    assert (read(file, "DRAIN_LOW"), read(file, "DRAIN_HIGH")) == (6, 5)


def test_writing_does_what_access_says(file):
    for name, register in REGISTERS.items():
        answer = file.write(register.address, 0x12345678)
        assert answer == (Answer.REFUSED if register.access is Access.READ else Answer.DONE), name
        if register.access is Access.WRITE:
            assert read(file, name) == 0x12345678 & writable(SYSTEM)[name]
    assert file.write(0x800, 0) == Answer.UNKNOWN
    assert file.read(0x800) == (0, Answer.UNKNOWN)


def test_a_run_is_begun_once_and_not_while_one_is_going_on(file):
    control = REGISTERS["CONTROL"].address
    assert [file.write(control, value) for value in (0, 1, 2)] == 3 * [Answer.DONE]
    assert file.starts == 1
    assert read(file, "CONTROL") == 0
    file.core.busy = 1
    assert [file.write(control, value) for value in (1, 0)] == [Answer.REFUSED, Answer.DONE]
    assert file.starts == 1


@pytest.mark.parametrize(("bits", "low", "high"), [
    (0, 0, 0), (32, 0xfffff000, 0), (40, 0xfffff000, 0xff), (64, 0xfffff000, 0xffffffff)])
def test_memory_begins_at_a_page_of_the_bus(bits, low, high):
    file = RegisterFile(System(CORES["4x4"], 0, 1 << 25, bits))
    for name in ("BASE_LOW", "BASE_HIGH"):
        file.write(REGISTERS[name].address, 0xffffffff)
    assert (read(file, "BASE_LOW"), read(file, "BASE_HIGH")) == (low, high)
    assert file.base == 0
    file.write(REGISTERS["CONTROL"].address, 1)
    file.write(REGISTERS["BASE_LOW"].address, 0)
    assert file.base == (high << 32) + low


def test_the_end_of_a_run_is_pending_until_it_is_cleared(file):
    enable, pending = (REGISTERS[f"INTERRUPT_{name}"].address for name in ("ENABLE", "PENDING"))
    file.ended()
    assert (read(file, "INTERRUPT_PENDING"), file.irq) == (1, 0)
    file.write(enable, 2)
    assert file.irq == 0
    file.core.status = 2
    file.ended()
    assert (read(file, "INTERRUPT_PENDING"), file.irq) == (3, 1)
    assert file.write(pending, 2) == Answer.DONE
    assert (read(file, "INTERRUPT_PENDING"), file.irq) == (1, 0)
    file.write(enable, 1)
    assert file.irq == 1


def test_an_error_of_memory_is_read(file):
    file.core.error_source, file.core.error_address = ErrorSource.WRITE, 0x1234
    source = REGISTERS["ERROR_SOURCE"]
    assert source.field("source").of(read(file, "ERROR_SOURCE")) == ErrorSource.WRITE
    assert "3 WRITE" in source.field("source").doc
    assert read(file, "ERROR_ADDRESS") == 0x1234

import pytest

from golden import self_test
from golden.self_test import Check, Field, advance, compress, seed, stimulus
from tests.configs import TEST_CONFIGS

WORD = 2**32


def test_sequences_are_xorshift32():
    word, reference = seed(0), 0x9E3779B9
    for _ in range(100):
        assert word == reference
        reference ^= reference * 2**13 % WORD
        reference ^= reference // 2**17
        reference ^= reference * 2**5 % WORD
        word = advance(word)


def test_sequences_differ_and_never_stop():
    seeds = [seed(index) for index in range(64)]
    assert len(set(seeds)) == 64
    assert 0 not in seeds
    assert stimulus(2, 3) == [(seed(0), seed(1)), (advance(seed(0)), advance(seed(1))),
                              (advance(advance(seed(0))), advance(advance(seed(1))))]


def test_signature_is_the_remainder_of_a_polynomial():
    results = [3, -1, 2**31, 12345, 0, WORD + 7]
    remainder = 0xFFFFFFFF  # definition: x * remainder + result, modulo the CRC-32 polynomial
    for result in results:
        remainder *= 2
        if remainder >= WORD:
            remainder ^= 0x104C11DB7
        remainder ^= result % WORD
    assert Check("unit", 1, 1, tuple(results)).signature == remainder


def test_no_single_wrong_result_keeps_the_signature():
    results = list(range(-20, 20))
    right = Check("unit", 1, 1, tuple(results)).signature
    for at in range(len(results)):
        for bit in range(32):
            wrong = results.copy()
            wrong[at] ^= 1 << bit
            assert Check("unit", 1, 1, tuple(wrong)).signature != right


def test_compress_drops_bits_above_the_word():
    assert compress(0xFFFFFFFF, -1) == compress(0xFFFFFFFF, WORD - 1)
    assert 0 <= compress(0x80000000, -1) < WORD


@pytest.mark.parametrize(("field", "value"), [
    (Field(0, 0, 4), 9), (Field(0, 0, 4, signed=True), -7), (Field(1, 4, 8), 0xCD),
    (Field(1, 4, 8, signed=True, offset=51), 0), (Field(1, 28, 4, offset=-1), 6),
])
def test_fields(field, value):
    assert field((0x12345679, 0x7000_0CD0)) == value


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_few_results_saturate(name):
    requant = {check.name: check for check in self_test.checks(TEST_CONFIGS[name])}["requant"]
    inside = [self_test.REQUANT_LOW < result < self_test.REQUANT_HIGH
              for result in requant.results]
    assert sum(inside) > 0.4 * len(inside)


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_report_names_configuration_units_and_verdicts(name):
    config = TEST_CONFIGS[name]
    title, *lines, result = self_test.report(config).removeprefix("\r\n").splitlines()
    assert title == f"vernier self-test, array {name}, lanes {config.lanes}"
    assert [line.split() for line in lines] == [
        [check.name, f"{check.signature:08X}", "PASS"] for check in self_test.checks(config)]
    assert result.split() == ["result", "PASS"]
    assert len({len(line) for line in (*lines, result)}) == 1, "verdicts should be in line"


def test_script_is_seven_bit_text_and_commands():
    script = self_test.script(TEST_CONFIGS["4x4"], ("one", "three"))
    assert script.count(self_test.RUN) == script.count(self_test.VERDICT) == 2
    assert max(script) == script[-1] == self_test.REPEAT

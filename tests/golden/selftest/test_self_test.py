import pytest

from golden.selftest import self_test
from golden.selftest.self_test import compress, signature
from golden.selftest.stations import CHECKS, checks
from tests.cases.configs import TEST_CONFIGS

WORD = 2**32


def test_signature_is_the_remainder_of_a_polynomial():
    results = [3, -1, 2**31, 12345, 0, WORD + 7]
    remainder = 0xFFFFFFFF  # definition: x * remainder + result, modulo the CRC-32 polynomial
    for result in results:
        remainder *= 2
        if remainder >= WORD:
            remainder ^= 0x104C11DB7
        remainder ^= result % WORD
    assert signature(tuple(results)) == remainder


def test_no_single_wrong_bit_keeps_the_signature():
    results = list(range(-20, 20))
    right = signature(tuple(results))
    for at in range(len(results)):
        for bit in range(32):
            wrong = results.copy()
            wrong[at] ^= 1 << bit
            assert signature(tuple(wrong)) != right


def test_compress_drops_bits_above_the_word():
    assert compress(0xFFFFFFFF, -1) == compress(0xFFFFFFFF, WORD - 1)
    assert 0 <= compress(0x80000000, -1) < WORD


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_report_names_configuration_units_and_verdicts(name):
    config = TEST_CONFIGS[name]
    title, *lines, result = self_test.report(config).removeprefix("\r\n").splitlines()
    assert title == f"vernier self-test, array {config.rows}x{config.cols}, lanes {config.lanes}"
    assert [line.split() for line in lines] == [
        [check.name, f"{signature(check.results):08X}", "PASS"] for check in checks(config)]
    assert result.split() == ["result", "PASS"]
    assert len({len(line) for line in (*lines, result)}) == 1, "verdicts should be in line"


def test_script_is_seven_bit_text_and_commands():
    script = self_test.script(TEST_CONFIGS["two-lanes"])
    for command in (self_test.RUN, self_test.SIGNATURE, self_test.VERDICT):
        assert script.count(command) == len(CHECKS)
    assert max(script) == script[-1] == self_test.REPEAT

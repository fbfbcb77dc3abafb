import pytest

from golden.selftest.pattern import Field, advance, seed, stimulus, words_for

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


@pytest.mark.parametrize(("field", "value"), [
    (Field(0, 0, 4), 9), (Field(0, 0, 4, signed=True), -7), (Field(1, 4, 8), 0xCD),
    (Field(1, 4, 8, signed=True, offset=51), 0), (Field(1, 28, 4, offset=-1), 6),
])
def test_fields(field, value):
    assert field((0x12345679, 0x7000_0CD0)) == value


def test_packed_fields_fill_words():
    fields = [Field.packed(index, 12) for index in range(5)]
    assert [(field.word, field.low) for field in fields] == [
        (0, 0), (0, 12), (1, 0), (1, 12), (2, 0)]
    assert words_for(fields) == 3

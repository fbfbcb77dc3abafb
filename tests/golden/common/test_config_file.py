"""The accelerator of a TOML file."""

from dataclasses import replace

import pytest

from golden.common.config import CORES
from golden.common.config_file import config_from_table, load_config, load_core


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "choices.toml"
        path.write_text(text)
        return path
    return write


def test_file_changes_the_base(toml):
    path = toml("[accelerator]\nrows = 4\nlanes = 2\n")
    assert load_config(path) == replace(CORES["8x16"], rows=4, lanes=2)
    assert load_config(path, CORES["4x4"]).max_k == CORES["4x4"].max_k


def test_lanes_follow_the_rows_unless_they_are_named(toml):
    for text, lanes in (("rows = 4", 4), ("cols = 32", 8), ("rows = 4\nlanes = 1", 1)):
        assert load_config(toml(f"[accelerator]\n{text}\n")).lanes == lanes


def test_file_without_a_table_changes_nothing(toml):
    assert load_config(toml("[estimate]\nclock = 3\n")) == CORES["8x16"]


@pytest.mark.parametrize(("text", "error", "message"), [
    ("[accelerator]\nrow = 4", ValueError,
     "accelerator choices must be among rows, cols, .*, key_words, not 'row'"),
    ("[accelerator]\nrows = 0", ValueError, r"rows must be within 1\.\.256, not 0"),
    ("[accelerator]\nrows = '4'", TypeError, "rows must be an integer, not '4'"),
    ("[accelerator]\nlanes = 5", ValueError, "but 5 does not divide 16"),
    ("accelerator = 4", ValueError, "accelerator must be a table, not 4"),
    ("[accelerator", ValueError, "Expected ']'"),
])
def test_refuses_a_file_that_makes_no_sense(toml, text, error, message):
    with pytest.raises(error, match=message):
        load_config(toml(text))


def test_refuses_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.toml")


def test_empty_table_gives_the_base():
    assert config_from_table({}) is not None
    assert config_from_table({}, CORES["16x32"]) == CORES["16x32"]


def test_a_core_has_as_many_lanes_as_rows(toml):
    assert load_core(toml("[accelerator]\n")) == CORES["8x16"]
    assert load_core(toml("[accelerator]\nrows = 16\n")) == replace(
        CORES["8x16"], rows=16, lanes=16)
    with pytest.raises(ValueError, match=r"lanes must be rows \(8\) in a core, not 4"):
        load_core(toml("[accelerator]\nlanes = 4\n"))
    with pytest.raises(ValueError, match="cols must be rows or twice as many in a core, not 40"):
        load_core(toml("[accelerator]\ncols = 40\n"))

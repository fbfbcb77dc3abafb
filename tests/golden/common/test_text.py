"""Text as editors of all systems leave it."""

import codecs

import pytest

from golden.common.config import CORES
from golden.common.config_file import load_config, load_core
from golden.common.text import read_text, read_toml

TEXT = '[accelerator]\nsram_kib = 5 # \u00e4 \U0001f600\n'
ENCODINGS = {"utf-8": b"", "utf-8-sig": b"", "utf-16": b"", "utf-16-le": codecs.BOM_UTF16_LE,
             "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-le": codecs.BOM_UTF32_LE,
             "utf-32-be": codecs.BOM_UTF32_BE}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_and_ends_of_lines(tmp_path, encoding, ends):
    path = tmp_path / "a.toml"
    path.write_bytes(ENCODINGS[encoding] + TEXT.replace("\n", ends).encode(encoding))
    assert read_text(path) == TEXT
    assert read_toml(path) == {"accelerator": {"sram_kib": 5}}
    assert load_config(path).sram_kib == load_core(path).sram_kib == 5
    assert (load_config(path, CORES["4x4"]).rows, load_core(path, CORES["4x4"]).rows) == (4, 4)


@pytest.mark.parametrize(("data", "message"), [
    (b"a = 1\nb = '\xe4'\n", r"^text must be UTF-8, or UTF-16 .*, not b'\\xe4' in line 2$"),
    (b"a\0=\0", "not binary or UTF-16 without a mark$"),
    (b"\xff\xfea", "^text must be UTF-8, or UTF-16"),
    (b"a = ", "Invalid value"),
])
def test_what_is_no_text_or_no_toml(tmp_path, data, message):
    (tmp_path / "a.toml").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_toml(tmp_path / "a.toml")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_toml(tmp_path / "none.toml")

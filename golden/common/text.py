"""Text files as people have them: UTF-8, with a byte order mark or not, UTF-16 with one."""

import codecs
import tomllib
from pathlib import Path

_MARKS = {codecs.BOM_UTF8: "utf-8-sig",
          codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# the mark of UTF-32 starts with that of UTF-16, and comes before it


def read_text(path: Path | str, *, errors: str = "strict") -> str:
    r"""Return the text of a file, its lines ended by ``\n`` whatever ends them there.

    Parameters
    ----------
    path
        Of the file.
    errors
        As :meth:`bytes.decode` takes it: ``surrogateescape`` keeps what is not UTF-8 as names of
        files have it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8, nor UTF-16 or UTF-32 with a byte order mark.
    """
    data = Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding, errors if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b"\n") + 1
        raise ValueError(f"text must be UTF-8, or UTF-16 with a byte order mark, not "
                         f"{data[error.start:error.start + 1]!r} in line {line}") from None
    if "\0" in text:
        raise ValueError("text must be UTF-8, or UTF-16 with a byte order mark, not binary or "
                         "UTF-16 without a mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path | str) -> dict:
    """Return the tables of a TOML file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no text, or no TOML.
    """
    return tomllib.loads(read_text(path))

"""What is done so far: a file with a line of JSON for each design, so that nothing is done twice.

Lines are added as results come. One that was not written to its end is left out when the file is
read, and its design is done again.
"""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from ..cli import UserError, file_errors, folder
from .evaluate import Setting, code
from .grid import Design


class Kept:
    """Results in a file, by design.

    Parameters
    ----------
    path
        The file; it and its folder are made.
    setting
        What the results depend on besides the design; and so do they on the code.

    Raises
    ------
    UserError
        If the file cannot be read or written.
    """

    def __init__(self, path: Path, setting: Setting):
        self._path = Path(path)
        common = json.dumps([asdict(setting), code()], sort_keys=True, default=str)
        self._common = hashlib.sha256(common.encode()).hexdigest()
        folder(self._path.parent)
        self._rows = self._read()

    def _read(self) -> dict[str, dict]:
        rows = {}
        with file_errors(f"cannot use {self._path}"):
            self._path.touch()
            content = self._path.read_bytes()
        for line in content.splitlines():
            try:
                kept = json.loads(line)
                rows[kept["key"]] = kept["row"]
            except (ValueError, TypeError, KeyError):
                continue  # not written to its end
        if content and not content.endswith(b"\n"):
            self._append(b"\n")
        return rows

    def _key(self, design: Design) -> str:
        own = json.dumps([self._common, asdict(design)], sort_keys=True)
        return hashlib.sha256(own.encode()).hexdigest()[:32]

    def get(self, design: Design) -> dict | None:
        """Return the row of a design, None if it is not done."""
        return self._rows.get(self._key(design))

    def add(self, designs: list[Design], rows: list[dict]) -> None:
        """Keep the rows of designs.

        Raises
        ------
        UserError
            If they cannot be written.
        """
        lines = []
        for design, row in zip(designs, rows, strict=True):
            key = self._key(design)
            self._rows[key] = row
            lines.append(json.dumps({"key": key, "row": row}) + "\n")
        self._append("".join(lines).encode())

    def _append(self, content: bytes) -> None:
        with file_errors(f"cannot write {self._path}"), self._path.open("ab", 0) as file:
            if file.write(content) != len(content):
                raise UserError(f"cannot write {self._path}: it took a part only")
            os.fsync(file.fileno())

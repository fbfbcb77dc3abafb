"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Put files into a folder, which is made; or leave everything as it was.

    The last of `files` is removed before the others are replaced: what is there together with it
    is of one call.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            temporary[name].write_bytes(content)
        (folder / list(files)[-1]).unlink(missing_ok=True)
        for name, path in temporary.items():
            path.replace(folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            for path in temporary.values():
                path.unlink(missing_ok=True)
            for path in made:
                path.rmdir()
        raise

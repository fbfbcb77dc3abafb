"""Files of PyTorch: what :func:`torch.load` reads, whatever state they are in."""

import zipfile
from pathlib import Path

import torch


def read(path: Path | str, *, own: bool = False):
    """Return what a file of :func:`torch.save` holds, on the CPU.

    Parameters
    ----------
    path
        The file; objects in it other than tensors and plain values are refused.
    own
        Whether this program has written it: a zip file then, whose checksums are right. PyTorch
        does not look at them, and can be told to leave them out.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, or is damaged.
    """
    try:
        if own:
            with zipfile.ZipFile(path) as file:
                damaged = file.testzip()
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError("it is no file of PyTorch, is damaged, or holds more than "
                         "tensors") from error

"""Checks of the golden functions' front doors."""

import numpy as np


def integers(name: str, value, low: int, high: int, *, shape: tuple[int | None, ...],
             dtype=np.int64) -> np.ndarray:
    """Return `value` as a C-contiguous `dtype` array.

    `shape` gives the number of dimensions and, where not None, their sizes.

    Raises
    ------
    TypeError
        If `value` is not made of integers.
    ValueError
        If its shape differs or an element lies outside ``low..high``; the first one is named.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise TypeError(f"{name} must be an integer array, not ragged") from None
    if array.size == 0 and array.dtype.kind == "f":  # numpy's dtype of an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an integer array, not {array.dtype}")
    if array.ndim != len(shape) or any(
            want is not None and got != want for got, want in zip(array.shape, shape, strict=True)):
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({want}), not {array.shape}")
    limits = np.iinfo(array.dtype)
    if (array.size and not low <= limits.min <= limits.max <= high  # else it cannot hold others
            and (int(array.min()) < low or int(array.max()) > high)):
        at = tuple(int(i) for i in np.argwhere((array < low) | (array > high))[0])
        raise ValueError(f"{name}[{', '.join(map(str, at))}] = {array[at]} "
                         f"is outside {low}..{high}")
    return np.ascontiguousarray(array, dtype)


def integer(name: str, value, low: int, high: int | None = None) -> int:
    """Return `value` as a Python integer within ``low..high`` (no upper limit if None)."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"within {low}..{high}"
        raise ValueError(f"{name} must be {limits}, not {value}")
    return int(value)

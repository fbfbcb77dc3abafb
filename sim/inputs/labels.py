"""Classes of images, from a table."""

import csv
from pathlib import Path

import numpy as np

from ..cli import UserError


def read_labels(path: Path, names: list[str], classes: int) -> np.ndarray:
    """Return the class index of each image, from a CSV file with the columns file and label.

    Parameters
    ----------
    names
        Of the images, within their folder; a file in the CSV may also lack the folder.
    classes
        How many there are.

    Raises
    ------
    UserError
        If the file cannot be read, or does not give one class for each image.
    """
    try:
        # Names in another encoding are then what the file system says they are.
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = [(line["file"], line["label"]) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (KeyError, csv.Error):
        raise UserError(f"{path} must be CSV with the columns file and label") from None
    labels = {}
    for number, (file, label) in enumerate(lines, 2):
        known = (label or "").isdecimal() and int(label) < classes
        if not known or labels.setdefault(file, int(label)) != int(label):
            what = "another label before" if known else f"no class of 0..{classes - 1}"
            raise UserError(f"{path}, line {number}: {file} has {what}, label {label!r}")
    found = [labels.get(name, labels.get(name.rpartition("/")[2])) for name in names]
    missing = [name for name, label in zip(names, found, strict=True) if label is None]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"{path} has no label of {missing[0]}{more}")
    return np.array(found)

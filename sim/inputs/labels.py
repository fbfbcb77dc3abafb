"""Classes of images: from a table, a list, or the folders that the images are in."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from golden.common.text import read_text

from ..cli import UserError, one_line
from .images import SUFFIXES

COLUMNS = ("file", "label")
KINDS = "a table, a list, or a folder with a folder of images for each class"

_MANY = object()  # in the place of a label: files of one name have several
_WNID = re.compile(r"n[0-9]{8}")


def read_labels(path: Path, names: list[str], classes: int) -> np.ndarray:
    """Return the class index of each image, from whatever the labels are in.

    Parameters
    ----------
    path
        A CSV file with the columns file and label; or lines of a file and a label, blanks between
        them; or a folder that has a folder of images for each class.
    names
        Of the images, within their folder; folders may be missing before a file, on either side.
    classes
        How many there are.

    Returns
    -------
    int64 array, shape (images,)
        A label is the index of the class, or its WordNet ID where the number of classes is that of
        one of timm's ImageNets. Folders of classes are named so, too; if they have other names, and
        there are as many as classes, they are the classes in the order of their names.

    Raises
    ------
    UserError
        If the labels cannot be read, or are not one for each image; file and line are named.
    """
    path = Path(path)
    try:
        found = _folders(path, classes) if path.is_dir() else _table(path, classes)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    made = [_of(found, name) for name in names]
    for what, bad in (("no label", None), ("several labels", _MANY)):
        some = [name for name, label in zip(names, made, strict=True) if label is bad]
        if some:
            more = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
            raise UserError(f"{path} has {what} of {some[0]}{more}")
    return np.array(made, np.int64)


def _of(found: dict, name: str):
    """Return the label of the file, the longest end of whose path is known; None if none is."""
    while name not in found and "/" in name:
        name = name.partition("/")[2]
    return found.get(name)


def _by_ends(labels: Iterable[tuple[str, int]]) -> dict:
    """Return labels by paths, and by all ends of paths at which there is only one label."""
    whole, ends = {}, {}
    for file, label in labels:
        whole[file] = label
        while "/" in file:
            file = file.partition("/")[2]
            if ends.setdefault(file, label) != label:
                ends[file] = _MANY
    return ends | whole


def _synsets(classes: int) -> dict[str, int]:
    """Return the classes of an ImageNet by their WordNet IDs; nothing for other data."""
    from .torchvision_compat import timm  # seconds of imports, which most labels do not need

    subset = timm.data.infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return {}
    names = timm.data.ImageNetInfo(subset).label_names()
    return {name: index for index, name in enumerate(names)}


def _index(label: str, classes: int, synsets: dict[str, int]) -> int | None:
    if label.isascii() and label.isdecimal() and len(label) < 10:
        return int(label) if int(label) < classes else None
    return synsets.get(label)


def _folders(path: Path, classes: int) -> dict:
    folders = sorted(folder.name for folder in path.iterdir()
                     if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise UserError(f"labels must be {KINDS}, but {path} has no folders")
    synsets = _synsets(classes) if all(map(_WNID.fullmatch, folders)) else {}
    labels = {name: _index(name, classes, synsets) for name in folders}
    if None in labels.values():
        if len(folders) != classes:
            odd = next(name for name, label in labels.items() if label is None)
            raise UserError(f"the folders in {path} must be {classes} classes, or their indices"
                            f"{' or WordNet IDs' if _synsets(classes) else ''}, not "
                            f"{len(folders)} like {odd!r}")
        labels = {name: index for index, name in enumerate(folders)}
    if len(set(labels.values())) < len(labels):
        raise UserError(f"the folders in {path} must be classes, each once, not "
                        f"{', '.join(folders[:3])}")
    return _by_ends((file.relative_to(path).as_posix(), label) for name, label in labels.items()
                    for file in (path / name).rglob("*") if file.suffix.lower() in SUFFIXES)


def _table(path: Path, classes: int) -> dict:
    try:
        # Names in another encoding are then what the file system says they are.
        text = read_text(path, errors="surrogateescape")
    except ValueError as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None
    synsets: dict[str, int] | None = None
    labels: dict[str, int] = {}
    for line, file, label in _lines(path, text):
        if synsets is None and _WNID.fullmatch(label):
            synsets = _synsets(classes)
        index = _index(label, classes, synsets or {})
        if index is None or labels.setdefault(file, index) != index:
            what = "another label before" if index is not None else f"no class of 0..{classes - 1}"
            raise UserError(f"{path}, line {line}: {file} has {what}, label {label!r}")
    return _by_ends(labels.items())


def _lines(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of a line, its file and its label."""
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), None)
    if start is None:
        raise UserError(f"{path} has no labels: it is empty")
    first = lines[start]
    delimiter = next((one for one in ",;\t" if one in first), ",")
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter))]
    if set(COLUMNS) <= set(header):
        yield from _rows(path, lines[start + 1:], start + 1, header, delimiter)
        return
    if first.lower().split() == [*COLUMNS]:
        start += 1
    elif not re.fullmatch(rf"\d+|{_WNID.pattern}", (first.split() or [""])[-1]) or "," in first:
        raise UserError(f"{path} must be CSV with the columns file and label, or lines of a file "
                        f"and a label, not line {start + 1} with {', '.join(header)}")
    for number, line in enumerate(lines[start:], start + 1):
        parts = line.rsplit(None, 1)
        if len(parts) == 1:
            raise UserError(f"{path}, line {number}: a line must be a file and a label, not "
                            f"{parts[0]!r}")
        if parts:
            yield number, _posix(parts[0]), parts[1]


def _rows(path: Path, lines: list[str], above: int, header: list[str],
          delimiter: str) -> Iterator[tuple[int, str, str]]:
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
    columns = [header.index(name) for name in COLUMNS]
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            file, label = (row[column].strip() if column < len(row) else "" for column in columns)
            yield above + rows.line_num, _posix(file), label
    except csv.Error as error:
        raise UserError(f"{path}, line {above + rows.line_num}: {one_line(error)}") from None


def _posix(file: str) -> str:
    return file.strip().replace("\\", "/").removeprefix("./")

"""Archives of arrays, whole and damaged."""

import io
import warnings
import zipfile

import numpy as np
import pytest

from sim.inputs.damage import DAMAGE, arrays_of


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return io.BytesIO(file.getvalue())


def npy(header, data):
    """An array's file, its header written as Python 2 did, or otherwise."""
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def test_a_header_of_python_2_is_read_without_a_word():
    file = archive(x=npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3L,), }",
                         np.arange(3, dtype="<i4").tobytes()))
    with warnings.catch_warnings(record=True) as said, arrays_of(file) as stored:
        assert stored["x"].tolist() == [0, 1, 2]
    assert not said


def test_text_that_is_none_is_damage():
    file = archive(x=npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }",
                         b"\xff\xff\xff\xff"))
    with pytest.raises(DAMAGE), arrays_of(file) as stored:
        stored["x"].tolist()

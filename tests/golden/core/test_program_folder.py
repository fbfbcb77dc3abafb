"""The two files of a program, written out: folders that there are can be read for good."""

import hashlib
import json
from dataclasses import fields

import pytest

from golden.common.config import AcceleratorConfig
from golden.core.isa import Layout
from golden.core.program import Program, Region, Tensor, load

MEMORY = bytes(range(200, 256))
CONFIG = {"rows": 4, "cols": 8, "lanes": 4, "scale_lanes": 2, "sram_kib": 64, "bus_bytes": 8,
          "max_k": 1000, "max_tokens": 999, "max_channels": 257, "range_entries": 250,
          "max_statistics": 249, "max_projected": 7, "max_monomials": 63, "max_sites": 127,
          "stream_words": 512, "key_words": 120}
ABOUT = {
    "format": "vernier-program",
    "version": 3,
    "sha256": "d51274dabb4fa867e63abc93a57a113477640921d4579eca216689e3d7de57ce",
    "config": CONFIG,
    "stream": {"address": 24, "size": 32}, "image": {"address": 0, "size": 13},
    "logits": {"address": 16, "size": 6},
    "side": 2, "colours": 3, "classes": 3, "logit_point": -5,
    "tensors": [
        {"name": "0.fc1", "address": 37, "stride": 11, "layout": 2, "rows": 5, "cols": 9,
         "signed": True, "first": 1, "written": 3, "last": 4},
        {"name": "logits", "address": 2, "stride": 1, "layout": 0, "rows": 1, "cols": 3,
         "signed": False, "first": 6, "written": 7, "last": 8},
    ],
    "about": {"model": "tiny", "classes": ["a", "b", "c"]},
}
PROGRAM = Program(
    AcceleratorConfig(**CONFIG), MEMORY, Region(24, 32), Region(0, 13), Region(16, 6), 2, 3, -5,
    (Tensor("0.fc1", 37, 11, Layout.OPERAND4, 5, 9, True, 1, 3, 4),
     Tensor("logits", 2, 1, Layout.WIDE, 1, 3, False, 6, 7, 8)),
    {"model": "tiny", "classes": ["a", "b", "c"]})


def test_the_files_are_these(tmp_path):
    PROGRAM.save(tmp_path / "p")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["memory.bin",
                                                                        "program.json"]
    assert (tmp_path / "p" / "memory.bin").read_bytes() == MEMORY
    assert json.loads((tmp_path / "p" / "program.json").read_text()) == ABOUT


def test_these_files_are_the_program(tmp_path):
    (tmp_path / "memory.bin").write_bytes(MEMORY)
    (tmp_path / "program.json").write_text(json.dumps(ABOUT))
    found = load(tmp_path)
    assert {field.name: getattr(found, field.name) for field in fields(Program)} == {
        field.name: getattr(PROGRAM, field.name) for field in fields(Program)}
    assert all(isinstance(tensor.layout, Layout) for tensor in found.tensors)


@pytest.mark.parametrize("size", [len(MEMORY) - 1, len(MEMORY) + 1])
def test_the_checksum_is_that_of_all_of_memory(size, tmp_path):
    memory = MEMORY.ljust(size, b"\0")[:size]
    (tmp_path / "memory.bin").write_bytes(memory)
    (tmp_path / "program.json").write_text(json.dumps(ABOUT))
    with pytest.raises(ValueError, match="the checksum of memory.bin is wrong"):
        load(tmp_path)
    assert hashlib.sha256(memory).hexdigest() != ABOUT["sha256"]

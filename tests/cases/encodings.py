"""Encodings written out: instructions, units of payloads, and the bytes that they are.

Worked out from the widths of the fields without :mod:`golden.core.isa`. Programs that have been
compiled can be read only as long as these hold. Numbers are hexadecimal, the byte
at the lowest address first, zeros at the end left out.
"""

from golden.core import isa
from golden.core.isa import Opcode

INSTRUCTIONS = [
    (Opcode.END, {}, "01"),
    (Opcode.SCALES, {"n": 6091, "scale_a": 3555},
     "020000000080e50b000000000000000000000000000000000000000000000000000030de"),
    (Opcode.PATCHES, {"m": 5221, "k": 5657, "dest": 906161, "dest_stride": 50531, "address":
      2154043847, "run_bytes": 3373, "grid": 225, "image_row_bytes": 57491, "patch_row_bytes":
      709191},
     ("0300a08c6658000000000000000000000000000000b1d33d560c00000000000000000000000000000000"
     "00000000000000c71964800000d0d2e193e047d20a")),
    (Opcode.LOAD, {"dest": 906161, "address": 2154043847, "words": 985979},
     ("040000000000000000000000000000000000000000b1d30d000000000000000000000000000000000000"
     "00000000000000c71964807b0b0f")),
    (Opcode.STORE, {"source": 797055, "address": 2154043847, "words": 985979, "logits": 1},
     ("05000000000000f097c20000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000c71964807b0b0f00000000000000000000000000000000000000000000000000000000"
     "000010")),
    (Opcode.NORM, {"layout": 4, "offset": 1, "subtract_b": 1, "m": 5221, "n": 6091, "source":
      797055, "source_stride": 39729, "dest": 906161, "dest_stride": 50531, "low": -18665,
      "high": -22327, "exponent": -419203, "scale_a": 3555, "scale_b": 3989, "epsilon":
      140737494143739},
     ("0640b88c0280e5fb97c2319b000000000000000000b1d33d567c719b8cdaa799000030de950f00fb5258"
     "000080")),
    (Opcode.GEMM, {"mode": 3, "activation": 2, "weights": 2, "path": 2, "layout": 4, "gelu":
      1, "residual": 1, "rows": 1, "tap": 1, "offset": 1, "subtract_b": 1, "m": 5221, "k":
      5657, "n": 6091, "source": 797055, "source_stride": 39729, "weights_address": 658661,
      "weights_stride": 65175, "residual_address": 1044555, "residual_stride": 57853, "dest":
      906161, "dest_stride": 50531, "low": -18665, "high": -22327, "exponent": -419203,
      "exponent_out": -226257, "scale_a": 3555, "scale_b": 3989, "scale_out": 2377,
      "last_token": 50169, "last_chunk_token": 46509, "last_word": 42847, "last_tile_word":
      39187, "last_group_word": 35525, "last_lane": 249, "last_chunk": 60971, "chunk_entries":
      57311, "per_channel": 1, "log2_chunks": -15547, "first_row": 21},
     ("b7cabf8c66d8e5fb97c2319be50c7ae9bf04fffde1b1d33d567c719b8cdaa7992f8c3cde959f94000000"
     "0000000000000000000000000000000000000000903fdc5afb753a9159ac98bfe2fefdbd6818000000000000"
     "a002")),
    (Opcode.SOFTMAX, {"m": 5221, "n": 6091, "source": 797055, "source_stride": 39729, "dest":
      906161, "dest_stride": 50531, "step": 1199, "factor": 46689, "shift": 21},
     ("0800a08c0280e5fb97c2319b000000000000000000b1d33d560c00000000000000000000000000000000"
     "000000af0cb3ad")),
    (Opcode.PREDICT, {"scale_a": 3555, "words": 985979, "statistics": 46327, "variables": 171,
      "monomials": 39005, "sites": 2577, "degree": 3, "projected": 1},
     ("0900000000000000000000000000000000000000000000000000000000000000000030de000000000000"
     "00000000000000000000007b0b0f0000000000000000000000000000000000000000000000e09e76b50b"
     "33420f")),
    (Opcode.MEASURE, {"gelu": 1, "m": 5221, "n": 6091, "source": 797055, "source_stride":
      39729, "exponent": -419203, "scale_a": 3555, "words": 985979},
     ("0a80a08c0280e5fb97c2319b0000000000000000000000000000000000d0a799000030de000000000000"
     "00000000000000000000007b0b0f")),
    (Opcode.QUANTIZE, {"layout": 4, "gelu": 1, "offset": 1, "m": 5221, "n": 6091, "source":
      797055, "source_stride": 39729, "dest": 906161, "dest_stride": 50531, "low": -18665,
      "high": -22327, "exponent_out": -226257, "scale_out": 2377, "words": 985979},
     ("0bc0a88c0280e5fb97c2319b000000000000000000b1d33d567c719b8c0a00002f8c0c00009094000000"
     "00000000000000000000007b0b0f")),
    (Opcode.EXIT, {"exponent": -419203},
     "0c00000000000000000000000000000000000000000000000000000000d0a799"),
    (Opcode.TABLE, {"n": 6091, "low": -18665, "wide": 1},
     ("0d0000000080e50b000000000000000000000000000000000070710b0000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000004")),
]
"""An instruction of each opcode: opcode, all of its fields, and its bytes.

Fields of more than three bits have different values, with the highest bit set: negative ones, if
they are signed."""

SINGLE_FIELDS = [
    (Opcode.GEMM, {"mode": 1}, "17"),
    (Opcode.GEMM, {"activation": 1}, "47"),
    (Opcode.GEMM, {"weights": 1}, "0701"),
    (Opcode.GEMM, {"path": 1}, "0704"),
    (Opcode.GEMM, {"layout": 1}, "0710"),
    (Opcode.GEMM, {"gelu": 1}, "0780"),
    (Opcode.GEMM, {"residual": 1}, "070001"),
    (Opcode.GEMM, {"rows": 1}, "070002"),
    (Opcode.GEMM, {"tap": 1}, "070004"),
    (Opcode.GEMM, {"offset": 1}, "070008"),
    (Opcode.GEMM, {"subtract_b": 1}, "070010"),
    (Opcode.GEMM, {"per_channel": 1},
     ("070000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000010")),
    (Opcode.TABLE, {"wide": 1},
     ("0d0000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000004")),
    (Opcode.SOFTMAX, {"shift": 1},
     ("080000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000008")),
    (Opcode.PREDICT, {"degree": 1},
     ("090000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000002")),
    (Opcode.PREDICT, {"projected": 1},
     ("090000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000008")),
    (Opcode.STORE, {"logits": 1},
     ("050000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000010")),
]
"""Instructions with one field, for the narrow ones, which cannot all be told apart above."""

UNITS = [
    (isa.COLUMN, {"exponent": -519627, "bias": -25923, "start": -51524694, "coarse": 1},
     "3512d8aba9badcce"),
    (isa.CHANNEL, {"gamma": -32476, "coarse": 1, "zero": 0, "beta": -1985229329},
     "24810100efcdab89"),
    (isa.SCALES, {"scale0": -32476, "scale1": 28963, "scale2": -25923, "scale3": 17767},
     "24812371bd9a6745"),
    (isa.CODEBOOK, {"operand0": 129, "operand1": 146, "operand2": 163, "operand3": 180,
                    "operand4": 197, "operand5": 214, "operand6": 231, "operand7": 247},
     "8192a3b4c5d6e7f7"),
    (isa.STATISTICS, {"mean0": -32476, "gain0": 65244, "mean1": -25923, "gain1": 52719},
     "2481dcfebd9aefcd"),
    (isa.PREDICTOR, {"number0": -32476, "number1": 28963, "number2": -25923, "number3": 17767},
     "24812371bd9a6745"),
    (isa.TABLE, {"value0": -32476, "value1": 28963, "value2": -25923, "value3": 17767},
     "24812371bd9a6745"),
]
"""A unit of each kind: the fields it is made of, their values, and its bytes."""

import lzma

import numpy as np
import pytest

from golden.common.formats import ACT16, IntFormat
from golden.prediction.range_unit import log_ranges
from sim import record
from sim.inputs import images
from sim.recordings.sites import CODEBOOK, SITES
from tests.cases.recorded import FILE, WEIGHTS, recorded


def test_committed_file_is_small():
    assert FILE.stat().st_size < 1_600_000


def test_committed_images_are_free():
    data = recorded()
    assert data.metadata["images"] == [source.describe() for source in images.PACKAGED]


def test_committed_file_names_its_origin():
    about = recorded().metadata
    assert about["timm"] == "deit_tiny_patch16_224"
    assert about["weights"]["file"] == "deit_tiny_patch16_224.safetensors"
    assert len(about["weights"]["sha256"]) == 64
    assert about["libraries"].keys() == set(record.LIBRARIES)
    assert about["command"] == ("python -m sim.record --model deit_t --weights "
                                "deit_tiny_patch16_224.safetensors --out deit_t.safetensors.xz")


@pytest.mark.parametrize("image", range(3))
def test_committed_residual_uses_its_16_bits(image):
    x = recorded().residual(image)
    assert x.shape == (197, 192)
    assert x.dtype == np.int16
    assert not x.flags.writeable
    assert ACT16.max / 8 < abs(x.astype(int)).max() <= ACT16.max / 2 + 1


@pytest.mark.parametrize("image", range(3))
def test_committed_ranges_are_those_of_the_golden_model(image):
    data = recorded()
    for per_channel in False, True:
        groups = 192 if per_channel else 1
        expected = log_ranges(data.residual(image), data.chunk_tokens, groups)
        np.testing.assert_array_equal(data.ranges(image, per_channel), expected)


@pytest.mark.parametrize("block", [0, 5, 11])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", SITES)
def test_committed_sites_fit_their_formats(name, block, bits):
    site = recorded().site(name, block, bits)
    channels = {"fc2": 768, "probs": 197}.get(name, 64 if SITES[name].heads else 192)
    assert site.values.shape == ((3, 197, channels) if SITES[name].heads else (197, channels))
    assert site.format == IntFormat(bits, SITES[name].signed,
                                    symmetric=bits == 4 and name in {"k", "v"})
    assert site.signed == SITES[name].signed
    assert int(site.values.min()) in site.format
    assert int(site.values.max()) in site.format
    assert len(np.unique(site.values)) > (3 if bits == 4 else 40)


def _floats(site):
    return site.values * 2.0 ** (site.lam / 1024)


@pytest.mark.parametrize("block", [0, 5, 11])
def test_committed_sites_belong_together(block):
    """What attention computes from q, k and v is what is recorded behind it, but for rounding."""
    data = recorded()
    q, k, v, probs, proj = (_floats(data.site(name, block, 8))
                            for name in ("q", "k", "v", "probs", "proj"))
    scores = np.exp(q @ k.transpose(0, 2, 1) / 8)
    np.testing.assert_allclose(scores / scores.sum(2, keepdims=True), probs, atol=0.03)
    attended = (probs @ v).transpose(1, 0, 2).reshape(197, 192)
    assert abs(attended - proj).mean() < 0.1 * abs(proj).mean()
    codes = data.codes(block)
    assert set(np.unique(codes.values)) <= set(range(16))
    unit, step = (2.0 ** (site.lam / 1024) for site in (codes, data.site("probs", block, 8)))
    decoded = data.codebook[codes.values] * unit
    covered = (probs > unit) & (probs < data.codebook.max() * unit)
    assert covered.mean() > 0.3
    # the widest gap of the codebook is from 1 to 2: half of it is a third of what is in its middle
    assert (abs(decoded - probs) <= probs / 3 + step)[covered].all()


def test_committed_codebook():
    assert recorded().codebook.tolist() == list(CODEBOOK)
    assert recorded().pixels().shape == (224, 224, 3)
    assert recorded().blocks == (0, 5, 11)
    assert recorded().frac == 10


def test_committed_file_is_rebuilt_bit_for_bit(tmp_path, capsys):
    if not WEIGHTS.exists():
        pytest.skip("needs ../shared/data/weights")
    if recorded().metadata["libraries"] != record.versions():
        pytest.skip("other library versions than those the file was recorded with")
    path = tmp_path / "again.safetensors.xz"
    argv = ["--rebuild", str(FILE), "--weights", str(WEIGHTS), "--out", str(path)]
    assert record.main(argv) == 0
    assert "comes out the same" in capsys.readouterr().out
    assert lzma.decompress(path.read_bytes()) == lzma.decompress(FILE.read_bytes())

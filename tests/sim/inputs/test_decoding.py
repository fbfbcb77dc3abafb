"""Every mode of an image becomes the right RGB, whatever a decoder raises one line."""

import io
import logging
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from sim.cli import UserError
from sim.inputs import images
from sim.inputs.decoding import MODES, decode, rgb

GRAY16 = np.array([[0, 255, 256, 0x80FF], [0x7F00, 0xFEFF, 0xFF00, 0xFFFF]], np.uint16)
GRAY8 = np.array([[0, 0, 1, 0x80], [0x7F, 0xFE, 0xFF, 0xFF]], np.uint8)


def file_of(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def assert_gray(image, gray):
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.repeat(gray[:, :, None], 3, 2))


@pytest.mark.parametrize(("mode", "value", "expected"), [
    ("1", 1, (255, 255, 255)),
    ("L", 77, (77, 77, 77)),
    ("LA", (77, 10), (77, 77, 77)),
    ("La", (40, 128), (79, 79, 79)),
    ("PA", (3, 10), (30, 60, 90)),
    ("P", 3, (30, 60, 90)),
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
    ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
    ("RGBa", (40, 20, 10, 128), (79, 39, 19)),
    ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),
    ("LAB", (128, 128, 128), (119, 119, 119)),
    ("HSV", (0, 255, 200), (200, 0, 0)),
])
def test_modes_of_8_bits(mode, value, expected):
    image = Image.new(mode, (2, 2))
    if mode in {"P", "PA"}:
        image.putpalette([channel * 10 for index in range(256) for channel in
                          (index % 9, 2 * index % 25, 3 * index % 25)])
    image.paste(value, (0, 0, 2, 2)) if mode not in {"La", "RGBa", "PA"} else image.putdata(
        [value] * 4)
    found = rgb(image)
    assert found.mode == "RGB"
    assert np.abs(np.subtract(found.getpixel((1, 1)), expected)).max() <= (1 if mode == "LAB"
                                                                          else 0)


def test_every_mode_of_pillow_is_known():
    for mode in Image.MODES:
        image = Image.new(mode, (2, 2))
        if mode.startswith("I") or mode == "F":
            with pytest.raises(ValueError, match="have no known range"):
                rgb(image)
        else:
            assert rgb(image).mode == "RGB"


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N", "I", "F"])
def test_numbers_without_a_known_range_are_refused(mode):
    with pytest.raises(ValueError, match=rf"^its numbers \(mode {mode}\) have no known range; "):
        rgb(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("transparency", [3, bytes([0, 255, 0, 128])])
def test_transparent_palette(transparency):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode(file_of(image, transparency=transparency))
    np.testing.assert_array_equal(np.asarray(found).reshape(-1, 3),
                                  np.arange(10, 121, 10).reshape(4, 3))


@pytest.mark.parametrize(("kind", "options"), [
    ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("JPEG2000", {}),
    ("PPM", {})])
def test_gray_of_16_bits(kind, options):
    assert_gray(decode(file_of(Image.fromarray(GRAY16), kind, **options)), GRAY8)


def test_big_endian_gray_of_16_bits():
    data = b"MM" + struct.pack(">HI", 42, 8 + GRAY16.nbytes) + GRAY16.astype(">u2").tobytes()
    tags = [(256, 3, 4), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (278, 3, 2), (279, 4, GRAY16.nbytes)]
    data += struct.pack(">H", len(tags)) + b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3
                                             else struct.pack(">I", value))
        for tag, kind, value in tags) + struct.pack(">I", 0)
    assert Image.open(io.BytesIO(data)).mode == "I;16B"
    assert_gray(decode(data), GRAY8)


def _tiff(bits, content, photometric=1, sample_format=1):
    tags = [(256, 3, 4), (257, 3, 2), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8), (277, 3, 1), (278, 3, 2), (279, 4, len(content)),
            (339, 3, sample_format)]
    return (b"II" + struct.pack("<HI", 42, 8 + len(content)) + content
            + struct.pack("<H", len(tags)) + b"".join(
                struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
            + struct.pack("<I", 0))


def test_gray_of_16_bits_whose_white_is_0():
    assert_gray(decode(_tiff(16, GRAY16.astype("<u2").tobytes(), photometric=0)), 255 - GRAY8)


def test_gray_of_12_bits():
    values = np.array([[0, 15, 16, 0x80F], [0x7F0, 0xFEF, 0xFF0, 0xFFF]])
    content = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
                       for a, b in values.reshape(-1, 2).tolist())
    assert_gray(decode(_tiff(12, content)), GRAY8)


@pytest.mark.parametrize(("bits", "kind", "sample_format"), [
    (16, "<i2", 2), (32, "<u4", 1), (32, "<i4", 2), (32, "<f4", 3)])
def test_tiff_without_a_known_range_is_refused(tmp_path, bits, kind, sample_format):
    path = tmp_path / "a.tif"
    path.write_bytes(_tiff(bits, GRAY8.astype(kind).tobytes(), sample_format=sample_format))
    with pytest.raises(UserError, match=r"^cannot read the image .*a.tif: its numbers .* 16 bits"):
        images.read(path)


def test_pgm_of_10_bits():
    assert_gray(decode(b"P5 2 1 1023\n" + struct.pack(">HH", 1023, 512)),
                np.array([[255, 128]], np.uint8))


def test_gray_of_16_bits_is_that_of_colour():
    data = np.frombuffer(np.repeat(GRAY16[:, :, None], 3, 2).astype(">u2").tobytes(), np.uint8)
    ppm = b"P6 4 2 65535\n" + data.tobytes()
    assert np.abs(np.asarray(decode(ppm)).astype(int) - GRAY8[:, :, None]).max() <= 1


UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
STORED = {1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
          5: UPRIGHT.T, 6: np.rot90(UPRIGHT, 1), 7: np.rot90(UPRIGHT, 2).T,
          8: np.rot90(UPRIGHT, -1)}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("kind", "options"), [
    ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True})])
def test_orientation_is_applied(kind, options, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert(
        "RGB" if kind == "WEBP" else "L")
    assert_gray(decode(file_of(image, kind, exif=exif, **options)), UPRIGHT)


def test_orientation_of_a_photograph():
    exif = Image.Exif()
    exif[0x112] = 6
    wide = Image.fromarray(np.tile(np.array([10, 200], np.uint8).repeat(16), (16, 1)))
    found = np.asarray(decode(file_of(wide, "JPEG", exif=exif)))
    assert found.shape == (32, 16, 3)
    assert found[:8].max() < 60
    assert found[-8:].min() > 150


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientation_that_is_none(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    assert_gray(decode(file_of(Image.fromarray(UPRIGHT), exif=exif)), UPRIGHT)


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM",
                                  "GIF", "JPEG2000", "ICO", "TGA", "PCX", "SGI"])
def test_damage_is_one_line(tmp_path, kind):
    rng = np.random.default_rng(1)
    whole = file_of(Image.effect_noise((16, 16), 50).convert("RGB"), kind)
    path = tmp_path / "a.png"
    for trial in range(60):
        data = bytearray(whole[:len(whole) if trial % 3 else int(rng.integers(len(whole)))])
        for _ in range(trial % 3):
            data[int(rng.integers(min(len(data), 160)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            assert images.read(path)[1].mode == "RGB"
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("error", [
    SyntaxError("odd"), struct.error("odd"), ValueError("odd"), EOFError("odd"), KeyError("odd"),
    IndexError("odd"), RuntimeError("odd"), AssertionError("odd"), MemoryError("odd"),
    NotImplementedError("odd"), OverflowError("odd"), TypeError("odd"),
    Image.DecompressionBombError("odd")])
@pytest.mark.parametrize("where", ["open", "load"])
def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch, error, where):
    def fail(*args, **options):
        raise error

    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.fromarray(UPRIGHT)))
    monkeypatch.setattr(*((Image, "open") if where == "open" else (ImageFile.ImageFile, "load")),
                        fail)
    with pytest.raises(UserError, match=r"^cannot read the image .*a.png: [^\n]*odd[^\n]*$"):
        images.read(path)


def test_interrupt_is_none_of_a_decoder(monkeypatch):
    def fail(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(KeyboardInterrupt):
        decode(b"")


def test_warnings_about_what_can_be_read_are_not_shown(monkeypatch, capfd):
    class Odd(TiffImagePlugin.TiffImageFile):
        def load(self):
            warnings.warn("odd", UserWarning, stacklevel=1)
            logging.getLogger("PIL.TiffImagePlugin").error("odd")
            return super().load()

    monkeypatch.setitem(Image.OPEN, "TIFF", (Odd, Image.OPEN["TIFF"][1]))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert_gray(decode(file_of(Image.fromarray(UPRIGHT), "TIFF")), UPRIGHT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("mode", "value", "channels", "wanted"), [
    ("RGB", (9, 9, 9), 1, (9,)), ("L", 7, 1, (7,)), ("L", 7, 2, (7, 255)),
    ("LA", (7, 3), 2, (7, 3)), ("RGBA", (9, 9, 9, 0), 2, (9, 0)),
    ("RGB", (1, 2, 3), 4, (1, 2, 3, 255)), ("RGBA", (1, 2, 3, 4), 4, (1, 2, 3, 4)),
    ("RGBA", (1, 2, 3, 4), 3, (1, 2, 3)), ("I;16", 0x1234, 4, (0x12, 0x12, 0x12, 255)),
])
def test_as_many_channels_as_a_model_takes(mode, value, channels, wanted):
    image = Image.new(mode, (2, 2), value)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    found = decode(buffer.getvalue(), channels)
    assert (found.mode, found.size) == (MODES[channels], (2, 2))
    assert np.asarray(found).reshape(4, -1).tolist() == [list(wanted)] * 4

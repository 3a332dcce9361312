"""Image files become RGB pixels; whatever is no still picture within the limits is refused."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from lmrun.chat.messages import MAX_IMAGE_BYTES
from lmrun.engines.llama_cpp.vision.decoding import MAX_PIXELS, Pixels, decode_image
from lmrun.errors import InvalidParameter
from tests.support.pictures import chunk, encode, noise, png_header

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
PNG = encode(noise())
JPEG = encode(noise(), "JPEG")
WEBP = encode(noise(), "WEBP", lossless=True)


def decode(data: bytes) -> Pixels:
    return decode_image(data, "images[0]")


def refusal(data: bytes) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as refused:
        decode(data)
    assert refused.value.param == "images[0]"
    return refused.value


def pixel(image: Image.Image, kind: str = "PNG", **options: object) -> tuple[int, ...]:
    """The first pixel after encoding and decoding."""
    return tuple(decode(encode(image, kind, **options))[0, 0].tolist())


@pytest.mark.parametrize("data", [PNG, WEBP], ids=["png", "webp"])
def test_lossless_pixels_arrive_unchanged(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data), np.asarray(noise()))


def test_a_jpeg_arrives_as_pillow_sees_it() -> None:
    assert decode(JPEG).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("mode", "color", "kind", "expected"),
    [
        ("1", 1, "PNG", WHITE),
        ("L", 7, "PNG", (7, 7, 7)),
        ("LA", (7, 255), "PNG", (7, 7, 7)),
        ("LA", (7, 0), "PNG", WHITE),
        ("P", 0, "PNG", BLACK),
        ("RGB", RED, "PNG", RED),
        ("RGBA", (*RED, 255), "PNG", RED),
        ("RGBA", (*RED, 0), "PNG", WHITE),
        ("RGBA", (*RED, 51), "PNG", (255, 204, 204)),
        ("RGBA", (*RED, 0), "WEBP", WHITE),
        ("I;16", 0x1234, "PNG", (0x12, 0x12, 0x12)),
        ("I;16", 0xFFFF, "PNG", WHITE),
        ("L", 200, "JPEG", (200, 200, 200)),
        ("CMYK", (0, 0, 0, 255), "JPEG", BLACK),
        ("CMYK", (0, 0, 0, 0), "JPEG", WHITE),
    ],
)
def test_every_mode_becomes_rgb(
    mode: str, color: int | tuple[int, ...], kind: str, expected: tuple[int, ...]
) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert pixel(Image.new(mode, (8, 8), color), kind, **options) == expected


def test_a_palette_with_transparency_lies_over_white() -> None:
    assert pixel(Image.new("P", (8, 8), 0), transparency=0) == WHITE


def test_a_transparent_shade_of_deep_grey_lies_over_white() -> None:
    plain = encode(Image.new("I;16", (8, 8), 0x1234))
    place = plain.index(b"IDAT") - 4
    data = plain[:place] + chunk(b"tRNS", b"\x12\x34") + plain[place:]
    assert decode(data)[0, 0].tolist() == list(WHITE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1))])
def test_a_turned_photo_stands_upright(
    kind: str, orientation: int, corner: tuple[int, int]
) -> None:
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste(BLACK, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encode(image, kind, exif=exif.tobytes()))
    assert pixels.shape == ((32, 16, 3) if orientation == 6 else (16, 32, 3))
    assert pixels[corner].max() < 40


@pytest.mark.parametrize("size", [(1, 1), (200, 1), (1, 200), (5000, 4000)])
def test_every_size_within_the_limits_is_taken(size: tuple[int, int]) -> None:
    assert decode(encode(Image.new("L", size))).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((5000, 4001), f"at most {MAX_PIXELS} are taken"),
        ((8_000, 8_000), f"8000 x 8000 pixels; at most {MAX_PIXELS} are taken"),
        ((2**31 - 1, 2**31 - 1), "far too many pixels"),
        ((10_000, 10_000), "far too many pixels"),
        ((201, 1), "200 times as long"),
        ((1, 20_000_000), "200 times as long"),
        ((0, 5), "cannot be decoded"),
    ],
)
def test_a_size_beyond_the_limits_is_refused_by_the_header_alone(
    size: tuple[int, int], says: str
) -> None:
    assert says in str(refusal(png_header(*size)))


def test_a_file_of_the_largest_size_is_read() -> None:
    padding = MAX_IMAGE_BYTES - len(PNG) - 12
    end = PNG.index(b"IEND") - 4
    data = PNG[:end] + chunk(b"prVt", bytes(padding)) + PNG[end:]
    assert len(data) == MAX_IMAGE_BYTES and decode(data).shape == (30, 40, 3)


def test_a_file_over_the_largest_size_is_refused_unread() -> None:
    assert "20000001 bytes; at most 20000000" in str(refusal(bytes(MAX_IMAGE_BYTES + 1)))


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.98])
def test_a_truncated_image_is_refused(data: bytes, share: float) -> None:
    assert "Send one JPEG, PNG or WebP image" in str(refusal(data[: int(share * len(data))]))


def test_a_corrupt_image_is_refused() -> None:
    middle = len(PNG) // 2
    refusal(PNG[:middle] + bytes(400) + PNG[middle + 400 :])


def test_a_webp_that_claims_to_be_huge_is_refused() -> None:
    data = bytearray(WEBP)
    place = data.index(b"VP8L") + 9  # signature byte 0x2f, then 14 bits of width and of height
    data[place : place + 4] = (0x0FFF_FFFF).to_bytes(4, "little")
    assert "far too many pixels" in str(refusal(bytes(data)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b"hello, I am a text", "none of JPEG, PNG and WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG image"),
        (b"\n<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7", "a PDF document"),
        (encode(noise(), "GIF"), "a GIF image"),
        (encode(noise(), "BMP"), "a BMP image"),
        (encode(noise(), "TIFF"), "a TIFF image"),
        (b"\0\0\0\x1cftypheic" + bytes(40), "a HEIC, AVIF or video file"),
        (encode(noise(), "PPM"), "none of JPEG, PNG and WebP"),
        (encode(noise(), "ICO"), "none of JPEG, PNG and WebP"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "none of JPEG, PNG and WebP"),
    ],
    ids=lambda given: "" if isinstance(given, bytes) else given,
)
def test_another_kind_of_file_is_refused_by_its_name(data: bytes, says: str) -> None:
    assert says in str(refusal(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [noise(seed=seed) for seed in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert "The image is animated." in str(refusal(data))


def test_a_photo_with_a_second_picture_shows_its_first() -> None:
    small = noise(8, 8)
    data = encode(noise(), "MPO", save_all=True, append_images=[small])
    assert decode(data).shape == (30, 40, 3)


def test_a_warning_of_the_decoder_is_a_refusal_and_leaves_no_trace() -> None:
    filters = list(warnings.filters)
    refusal(png_header(10_000, 10_000))
    assert warnings.filters == filters


def test_compressed_text_that_bursts_is_refused() -> None:
    text = b"key\0\0" + zlib.compress(bytes(2**26))
    end = PNG.index(b"IDAT") - 4
    refusal(PNG[:end] + chunk(b"zTXt", text) + PNG[end:])

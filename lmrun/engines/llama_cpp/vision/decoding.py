"""Image files to RGB pixels: JPEG, PNG and WebP, within limits. It knows no model and no prompt.

Only Pillow reads the bytes, and only as one of the three formats: llama.cpp's own loader fails on
WebP and may start a helper program on bytes it does not know.
"""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lmrun.chat.messages import MAX_IMAGE_BYTES
from lmrun.errors import InvalidParameter

MAX_PIXELS = 20_000_000
MAX_ASPECT_RATIO = 200
"""Longer side to shorter. Vision models refuse or crush longer ones (Qwen2-VL's `smart_resize`)."""

_FORMATS = ("JPEG", "PNG", "WEBP")
_HINT = "Send one JPEG, PNG or WebP image that is not animated."
_WHITE = (255, 255, 255, 255)
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L")
_FOREIGN = (
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG image"),
    (b"<?xml", "an XML document, perhaps SVG"),
)
"""How other files begin. Bytes 4 to 8 of HEIC and AVIF are `ftyp`."""

Pixels = NDArray[np.uint8]

# `warnings.catch_warnings` changes the whole process's filters and must not be entered twice.
_lock = threading.Lock()


def decode_image(data: bytes, param: str) -> Pixels:
    """The picture as height x width x 3 bytes of sRGB, upright, transparency over white.

    Raises InvalidParameter, which names `param`: for another kind of file, a damaged or animated
    one, more than MAX_IMAGE_BYTES, and, before anything is decoded, more than MAX_PIXELS.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidParameter(
            f"The image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are taken.",
            param=param,
            hint="Send it smaller: models see far less than that.",
        )
    kind = _name_foreign(data)
    if kind is not None:
        raise InvalidParameter(f"This is {kind}.", param=param, hint=_HINT)
    try:
        with _lock, warnings.catch_warnings(action="error"):
            return _decode(data, param)
    except (InvalidParameter, KeyboardInterrupt):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels("far too many", param) from None
    except Exception as error:  # foreign bytes: decoders raise nearly anything
        raise InvalidParameter(
            f"The image cannot be decoded: {_describe(error)}.", param=param, hint=_HINT
        ) from None


def _decode(data: bytes, param: str) -> Pixels:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        _require_drawable(image, param)
        image.load()
        return np.array(_flatten(ImageOps.exif_transpose(image)), dtype=np.uint8)


def _require_drawable(image: Image.Image, param: str) -> None:
    """Raises InvalidParameter by what the header says. Phones' JPEGs may hold a second picture,
    which is no animation: the first one counts."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width} x {height}", param)
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidParameter(
            f"The image has {width} x {height} pixels; a side may be at most "
            f"{MAX_ASPECT_RATIO} times as long as the other.",
            param=param,
            hint="Cut out the part that matters.",
        )
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise InvalidParameter("The image is animated.", param=param, hint=_HINT)


def _too_many_pixels(how_many: str, param: str) -> InvalidParameter:
    return InvalidParameter(
        f"The image has {how_many} pixels; at most {MAX_PIXELS} are taken.",
        param=param,
        hint="Send it smaller: models see far less than that.",
    )


def _flatten(image: Image.Image) -> Image.Image:
    """RGB of 8 bits each. Pillow alone would cut 16-bit grey off at 255."""
    if image.mode in _DEEP_GREY:
        grey = np.asarray(image).astype(np.int32)
        see_through = image.info.get("transparency")
        shades = (grey >> 8).clip(0, 255).astype(np.uint8)
        if isinstance(see_through, int):
            shades[grey == see_through] = 255
        return Image.fromarray(shades).convert("RGB")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, _WHITE)
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    return image.convert("RGB")


def _name_foreign(data: bytes) -> str | None:
    """What a file of another kind is, by its first bytes; None when it may be one of ours."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    head = data[:64].lstrip()
    return next((name for magic, name in _FOREIGN if head.startswith(magic)), None)


def _describe(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is none of JPEG, PNG and WebP"
    return f"{error}".strip().rstrip(".") or type(error).__name__

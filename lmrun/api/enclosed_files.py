"""Files that come inside a request: which kinds are taken, and how large. It knows no dialect."""

from __future__ import annotations

from lmrun.api.data_urls import parse_data_url
from lmrun.chat.messages import MAX_IMAGE_BYTES

IMAGE_TYPES = ("image/png", "image/jpeg", "image/jpg", "image/webp")

TEXT_TYPES = (
    "text/plain",
    "text/markdown",
    "text/csv",
    "text/html",
    "text/xml",
    "application/json",
    "application/xml",
)
"""Files whose bytes are text that a model can read."""

MAX_FILE_BYTES = 2_000_000


def parse_image(url: str) -> bytes:
    """An image's file out of its data URL. Raises ValueError with what is wrong."""
    return parse_data_url(url, IMAGE_TYPES, MAX_IMAGE_BYTES)


def parse_text_file(url: str) -> str:
    """A file's text out of its data URL. Raises ValueError with what is wrong."""
    try:
        return parse_data_url(url, TEXT_TYPES, MAX_FILE_BYTES).decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None

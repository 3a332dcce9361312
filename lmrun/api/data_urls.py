"""Files inside of JSON: base64, and `data:` URLs as RFC 2397 has them. It knows no dialect and no
file format."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

_SHOWN = 40


def parse_data_url(url: str, media_types: Collection[str], most_bytes: int) -> bytes:
    """The bytes of `data:<media type>;base64,<data>`. The media type must be one of
    `media_types`; it is not compared with the bytes.

    Raises ValueError with what is wrong, and what would be right; more than `most_bytes` are
    refused before they are decoded.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in ("http", "https"):
        raise ValueError(
            "the server fetches nothing from the network; send the file itself, as a data: URL"
        )
    head, comma, data = url.partition(",")
    media_type, _, encoding = head[len("data:") :].partition(";")
    if scheme != "data" or not comma or encoding.lower() != "base64":
        raise ValueError(f"it is not of the form data:{next(iter(media_types))};base64,…")
    if media_type.lower() not in media_types:
        known = ", ".join(media_types)
        raise ValueError(f"the media type {media_type[:_SHOWN]!r} is none of {known}")
    return decode_base64(data, most_bytes)


def decode_base64(data: str, most_bytes: int) -> bytes:
    """A file's bytes. Raises ValueError, for more than `most_bytes` before decoding."""
    if len(data) // 4 * 3 - data[-2:].count("=") > most_bytes:
        raise ValueError(f"the file is larger than {most_bytes} bytes")
    try:
        # Strict: no line breaks, no other alphabet, nothing after the padding.
        return base64.b64decode(data.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        reason = "a character outside ASCII" if isinstance(error, UnicodeEncodeError) else error
        raise ValueError(f"its base64 is wrong: {reason}") from None

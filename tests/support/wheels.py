"""Wheels and a package index as plain files, for real pip without a network.

It knows the wheel format only.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path


def record_hash(content: bytes) -> str:
    """A hash as RECORD writes it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, bytes],
    *,
    record: str | None = None,
) -> Path:
    """Write `<name>-<version>-py3-none-any.whl` with `files`; `record` replaces its RECORD."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{record_hash(content)},{len(content)}" for path, content in members.items()]
    rows.append(f"{info}/RECORD,,")
    members[f"{info}/RECORD"] = ("\n".join(rows) if record is None else record).encode()
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return wheel

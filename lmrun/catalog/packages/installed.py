"""Model files in distributions that are installed here. It downloads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lmrun.catalog.packages.record import describe_absence, parse_record
from lmrun.catalog.paths import safe_join
from lmrun.errors import SourceInvalid, SourceMissing
from lmrun.settings.sources import PackageSource


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file where an installer put it, with the hash that it must have."""

    path: Path
    sha256: str


def find_installed(source: PackageSource) -> InstalledFile | None:
    """The source's file, if exactly that version is installed with a hash to check it against.

    Raises SourceMissing when the version is installed and has no such file.
    """
    try:
        distribution = metadata.distribution(source.distribution)
    except metadata.PackageNotFoundError:
        return None
    record = parse_record(distribution.read_text("RECORD") or "")
    if distribution.version != source.version or not record:
        return None
    found = record.get(source.member)
    if found is None:
        raise SourceMissing(
            f"{source.distribution} {source.version} has no file {source.member}.",
            hint=describe_absence(source.member, record),
        )
    try:
        path = safe_join(Path(str(distribution.locate_file(""))), source.member)
    except SourceInvalid:
        # Some installers link into a cache; a link can change what it points to, so fetch it.
        return None
    if found.sha256 is None or not path.is_file():
        return None
    return InstalledFile(path, found.sha256)

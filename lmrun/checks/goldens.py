"""Golden files: the whole answer to a check for each fingerprint, as JSON under version control.

`{"answers": {"<system_fingerprint>": {"text": …, "finish_reason": …}}}`. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from lmrun.checks.judging import Golden
from lmrun.checks.values import Answer
from lmrun.errors import LmrunError, StoreError
from lmrun.profile.loader import LoadedProfile
from lmrun.store.atomic import write_atomic
from lmrun.store.failures import storing

MAX_BYTES = 16 * 2**20
_MODE = 0o644
"""The file is the project's, not a secret of ours."""


class _GoldenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answers: dict[str, Answer]


def locate_golden(loaded: LoadedProfile, name: str) -> Path | None:
    """The golden file of the check called `name`; None when it wants none.

    Raises LmrunError when a link leads it out of the profile's directory.
    """
    golden = loaded.profile.checks[name].expect.golden
    if golden is None:
        return None
    folder = loaded.golden_dirs[name]
    if not (folder / golden).resolve().is_relative_to(folder.resolve()):
        raise LmrunError(f"The golden file {folder / golden} lies outside {folder}, by a link.")
    return folder / golden


def read_golden(file: Path) -> Golden:
    """The answers in a golden file; none where there is no file.

    Raises LmrunError when it cannot be read or is no golden file.
    """
    try:
        with open(file, "rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise LmrunError(f"{file} is no golden file: it is larger than {MAX_BYTES} bytes.")
    return parse_golden(content, file)


def parse_golden(content: bytes, file: Path) -> Golden:
    """The answers in a golden file's text. Raises LmrunError, naming `file`."""
    try:
        return msgspec.json.decode(content, type=_GoldenFile).answers
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LmrunError(
            f"{file} is no golden file: {error}.", hint="`lmrun check --update` writes them."
        ) from None


def encode_golden(answers: Mapping[str, Answer]) -> bytes:
    """A golden file's text: in a fixed order and on lines, so that its changes can be read."""
    content = msgspec.json.encode({"answers": answers}, order="deterministic")
    return msgspec.json.format(content, indent=2) + b"\n"


def write_golden(file: Path, fingerprint: str, answer: Answer) -> None:
    """Put the answer under its fingerprint into the file; the others stay. Raises StoreError and
    what `read_golden` raises."""
    answers = {**read_golden(file), fingerprint: answer}
    with storing(file.parent, "create"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, encode_golden(answers), mode=_MODE)

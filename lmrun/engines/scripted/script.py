"""What a `*.scripted.json` file says: typed, strict. It plays nothing.

The smallest one is `{"replies": [{"pieces": ["Hello", " world"]}]}`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from lmrun.engines.base import FinishReason
from lmrun.errors import ModelInvalid

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are errors."""


class Bytes(_Strict, frozen=True):
    """A piece that is not valid UTF-8 by itself, in hexadecimal."""

    hex: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*$")]


class Crash(_Strict, frozen=True):
    """The process ends: by `signal` (its number), or with `exit_code`."""

    signal: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None

    def __post_init__(self) -> None:
        if (self.signal is None) == (self.exit_code is None):
            raise ValueError("a crash needs either `signal` or `exit_code`")


class CrashAfter(Crash, frozen=True, kw_only=True):
    """The process ends once `after` tokens of the reply were produced."""

    after: Count


class FailAfter(_Strict, frozen=True):
    """This sequence fails after `after` tokens; the others go on."""

    after: Count
    message: str = "The script says that this sequence fails."


class HangAfter(_Strict, frozen=True):
    """The step sleeps for `seconds` after `after` tokens, as a stuck engine would."""

    after: Count
    seconds: Seconds = 3600.0


class Refusal(_Strict, frozen=True):
    """The load refuses a setting. `param`: its path, like `load.flash_attention`."""

    param: str
    message: str


class LoadScript(_Strict, frozen=True):
    """How the load goes: it takes `seconds`, holds `memory_bytes`, then may fail in one way."""

    seconds: Seconds = 0.0
    memory_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    error: str | None = None
    refuse: Refusal | None = None
    crash: Crash | None = None


class Reply(_Strict, frozen=True):
    """One answer. `match`: a regular expression that is searched in the prompt's text.

    One piece is one token; all pieces are said `repeat` times.
    """

    pieces: tuple[str | Bytes, ...]
    match: str | None = None
    repeat: Count = 1
    seconds_before_first: Seconds = 0.0
    seconds_per_token: Seconds = 0.0
    finish: FinishReason = "eosFound"
    fail: FailAfter | None = None
    crash: CrashAfter | None = None
    hang: HangAfter | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match or "")
        except re.error as error:
            raise ValueError(f"`match` is no regular expression: {error}") from None

    def fits(self, prompt: str) -> bool:
        return self.match is None or re.search(self.match, prompt, re.DOTALL) is not None


class Script(_Strict, frozen=True):
    """A whole model. The last reply is said when no other fits.

    `step_seconds`: what a step takes at least. `prompt_tokens_per_step`: how much of each waiting
    prompt one step processes. `max_tokens` bounds every reply.
    """

    replies: Annotated[tuple[Reply, ...], msgspec.Meta(min_length=1)]
    context_length: Annotated[int, msgspec.Meta(ge=8, le=16_777_216)] = 4096
    max_tokens: Count | None = None
    chat_template: str | None = CHATML
    step_seconds: Seconds = 0.0
    prompt_tokens_per_step: Positive = 512
    load: LoadScript = LoadScript()

    def choose_reply(self, prompt: str) -> int:
        """The index of the first reply that fits, else of the last one."""
        fitting = (index for index, reply in enumerate(self.replies) if reply.fits(prompt))
        return next(fitting, len(self.replies) - 1)


def parse_script(data: bytes, path: Path) -> Script:
    """The script in `data`. Raises ModelInvalid, which names the field that is wrong."""
    try:
        return msgspec.json.decode(data, type=Script)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelInvalid(
            f"{path}: {error}",
            hint='The smallest script is {"replies": [{"pieces": ["Hello"]}]}.',
        ) from None


def read_script(path: Path) -> Script:
    """The script in a file. Raises ModelInvalid when it cannot be read or is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelInvalid(f"{path}: it cannot be read: {error.strerror}.") from None
    return parse_script(data, path)

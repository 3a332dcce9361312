"""llama.cpp's own log, kept in memory: nothing reaches stdout or stderr. It judges no line."""

from __future__ import annotations

from collections import deque

from llama_cpp import llama_cpp as native

# ggml.h: ggml_log_level. The list in the binding's comments is older and differs by one.
_WARN, _ERROR, _CONTINUED = 3, 4, 5
_KEPT_LINES = 200
_KEPT_BYTES = 500

_lines: deque[tuple[int, str]] = deque(maxlen=_KEPT_LINES)


@native.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes gives it no types
def keep(level: int, text: bytes | None, user_data: object) -> None:
    line = (text or b"")[:_KEPT_BYTES].decode(errors="replace")
    if level == _CONTINUED and _lines:
        level, begun = _lines.pop()
        line = begun + line
    _lines.append((level, line))


def install() -> None:
    """Take llama.cpp's log from now on, in the whole process, and forget earlier lines."""
    native.llama_log_set(keep, None)
    forget()


def forget() -> None:
    """Drop the lines of what is over, so that they are not blamed for what comes."""
    _lines.clear()


def read_lines() -> list[str]:
    """Everything since `install` or `forget` that is still kept, oldest first."""
    return [line.strip() for _, line in _lines]


def read_problems() -> list[str]:
    """Warnings and errors since `install` or `forget`, oldest first, each one line."""
    return [line.strip() for level, line in _lines if level in (_WARN, _ERROR) and line.strip()]


def read_reason() -> str:
    """The last errors that llama.cpp logged, as one sentence; empty when it said nothing."""
    errors = [line.strip() for level, line in _lines if level == _ERROR and line.strip()]
    return "; ".join(errors[-3:])

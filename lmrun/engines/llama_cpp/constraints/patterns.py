"""Regular expressions before an engine sees them: their size, and what they mean everywhere alike.

It knows no JSON. A pattern of a JSON schema is in ECMAScript's dialect, the engine reads Rust's:
what the two read differently is refused, since the answer would not match for whoever checks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lmrun.engines.llama_cpp.constraints.refusals import refuse

MAX_PATTERN_CHARACTERS = 512
MAX_PATTERN_DEPTH = 20
MAX_REPETITIONS = 2000
MAX_NESTED_REPETITIONS = 100_000
"""What the bounds of repetitions inside of each other multiply to: a million takes a second."""

_TOKEN = re.compile(
    r"\\[\s\S]|\(\?<[=!]|\(\?(?:P?<[A-Za-z_]\w*>|[^)]?)|\[\^?\]?"
    r"|\{\d+(?:,\d*)?\}|[()|*+?^$\]]|[\s\S]"
)
_DOT = "\udfff"
"""No character, so no pattern holds it."""
_NO_LINE_END = r"[^\n\r\x{2028}\x{2029}]"
_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")
_QUANTIFIERS = ("*", "+", "?")
_AMBIGUOUS_IN_CLASS = ("[", "&&", "--", "~~")


@dataclass(slots=True)
class _Scan:
    """Where in a pattern. `atom`: whether what was read last can be repeated.

    `repeated`: how often the bounds of what was read last repeat it, and for each open group and
    the whole, the most of what is in it.
    """

    at: str
    is_schema: bool
    position: int = 0
    atom: bool = False
    repeated: int = 1
    most_repeated: list[int] = field(default_factory=lambda: [1])

    @property
    def depth(self) -> int:
        return len(self.most_repeated) - 1

    def error(self, message: str) -> Exception:
        place = f"character {self.position + 1}"
        where = f"{self.at}, {place}" if self.at else place
        return refuse(f"the regular expression {message}", at=where)

    def repeat(self, times: int) -> None:
        self.repeated *= times
        if self.repeated > MAX_NESTED_REPETITIONS:
            raise self.error(f"repeats repetitions more than {MAX_NESTED_REPETITIONS} times")
        self.most_repeated[-1] = max(self.most_repeated[-1], self.repeated)


def check_pattern(pattern: str, at: str) -> str:
    """A `pattern` of a JSON schema in the engine's dialect. Raises InvalidParameter.

    ECMAScript's `.` stands for no end of a line, of which it knows four.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise refuse(
            f"a pattern of {len(pattern)} characters; at most {MAX_PATTERN_CHARACTERS} are taken",
            at=at,
        )
    return _check(pattern, _Scan(at, is_schema=True)).replace(_DOT, _NO_LINE_END)


def check_regex(pattern: str, at: str) -> None:
    """A regular expression in the engine's own dialect. Raises InvalidParameter."""
    _check(pattern, _Scan(at, is_schema=False))


def _check(pattern: str, scan: _Scan) -> str:
    """The pattern, with _DOT for each `.` that is not escaped and in no class."""
    parts: list[str] = []
    while scan.position < len(pattern):
        found = _TOKEN.match(pattern, scan.position)
        assert found is not None
        token = found[0]
        if token.startswith("["):
            end = _skip_class(pattern, scan)
            parts.append(pattern[scan.position : end])
            scan.position, scan.atom, scan.repeated = end, True, 1
            continue
        _read_token(token, scan)
        parts.append(_DOT if token == "." else token)
        scan.position += len(token)
    if scan.depth:
        raise scan.error("leaves a parenthesis open")
    return "".join(parts)


def _read_token(token: str, scan: _Scan) -> None:
    if token.startswith("("):
        _open_group(token, scan)
    elif token == ")":
        _close_group(scan)
    elif token in _QUANTIFIERS or (token.startswith("{") and len(token) > 1):
        _read_quantifier(token, scan)
    else:
        if token.startswith("\\"):
            _check_escape(token, scan)
        scan.atom, scan.repeated = token not in ("|", "^", "$"), 1


def _open_group(token: str, scan: _Scan) -> None:
    scan.most_repeated.append(1)
    scan.atom = False
    if scan.depth > MAX_PATTERN_DEPTH:
        raise scan.error(f"is nested deeper than {MAX_PATTERN_DEPTH}")
    if token in _LOOKAROUND:
        raise scan.error("looks around, which cannot be enforced")
    if scan.is_schema and token not in ("(", "(?:") and not token.startswith("(?<"):
        raise scan.error("has a group of a kind that ECMAScript has not")


def _close_group(scan: _Scan) -> None:
    if not scan.depth:
        raise scan.error("closes a parenthesis that is not open")
    scan.repeated = scan.most_repeated.pop()
    scan.most_repeated[-1] = max(scan.most_repeated[-1], scan.repeated)
    scan.atom = True


def _check_escape(token: str, scan: _Scan) -> None:
    escaped = token[1:]
    if escaped in "123456789k":
        raise scan.error("refers back to a group, which cannot be enforced")
    if escaped in "bB":
        raise scan.error("asks for a word boundary, which cannot be enforced")
    if scan.is_schema and escaped in "AzZGQEhHRXKpP":
        raise scan.error(f"has the escape `{token}`, which is not the same everywhere")


def _read_quantifier(token: str, scan: _Scan) -> None:
    if not scan.atom:
        raise scan.error("repeats nothing")
    bounds = [int(number[:10]) for number in re.findall(r"\d+", token)]
    if any(bound > MAX_REPETITIONS for bound in bounds):
        raise scan.error(f"repeats more than {MAX_REPETITIONS} times")
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        raise scan.error("has a repetition whose least is over its most")
    scan.repeat(max(1, *bounds) if bounds else 1)


def _skip_class(pattern: str, scan: _Scan) -> int:
    """The position after a class such as `[^a-z]`."""
    position = scan.position + 1 + pattern.startswith("^", scan.position + 1)
    begin = position
    while position < len(pattern):
        if pattern[position] == "]" and (position > begin or scan.is_schema):
            break
        if scan.is_schema and pattern.startswith(_AMBIGUOUS_IN_CLASS, position):
            scan.position = position
            raise scan.error("has a class with an unescaped `[`, `&&`, `--` or `~~`; escape it")
        position += 2 if pattern[position] == "\\" else 1
    if position >= len(pattern):
        raise scan.error("leaves a class open")
    if position == begin:
        raise scan.error("has an empty class, which matches nothing")
    return position + 1

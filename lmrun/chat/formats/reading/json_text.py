"""JSON as it comes, a character at a time: where a value ends, and whether it still is one.

The grammar is that of RFC 8259. It builds no values.
"""

from __future__ import annotations

from typing import Literal

MAX_DEPTH = 64
"""Levels of nesting; JSON that goes deeper counts as broken."""

_WHITESPACE = " \t\n\r"
_NUMBER_BEGINNINGS = {"-": "minus", "0": "zero"} | dict.fromkeys("123456789", "digits")
_NUMBER_STEPS = {
    "minus": {"0": "zero"} | dict.fromkeys("123456789", "digits"),
    "zero": {".": "point", "e": "exponent", "E": "exponent"},
    "digits": {".": "point", "e": "exponent", "E": "exponent"}
    | dict.fromkeys("0123456789", "digits"),
    "point": dict.fromkeys("0123456789", "fraction"),
    "fraction": {"e": "exponent", "E": "exponent"} | dict.fromkeys("0123456789", "fraction"),
    "exponent": {"+": "sign", "-": "sign"} | dict.fromkeys("0123456789", "power"),
    "sign": dict.fromkeys("0123456789", "power"),
    "power": dict.fromkeys("0123456789", "power"),
}
"""Where in a number a character leads. Numbers may be long: nothing of them is kept."""
_NUMBER_ENDS = frozenset({"zero", "digits", "fraction", "power"})
_WORDS = ("true", "false", "null")
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")

State = Literal["open", "complete", "broken"]
_Expects = Literal["value", "first value", "first key", "key", "colon", "separator", "nothing"]


class JsonScanner:
    """Follows one JSON value, which begins with its first character that is no white space.

    `state`: `open` until the value is complete, or until no continuation could make it JSON. A
    number at the top level is complete only when another character follows, or at `finish`.
    """

    def __init__(self) -> None:
        self.state: State = "open"
        self._expects: _Expects = "value"
        self._nesting: list[str] = []
        self._is_in_string = False
        self._word = ""
        self._number = ""
        self._escape = ""

    def push(self, text: str) -> int:
        """Take characters as long as they belong to the value. How many: all of `text` while
        `state` stays `open`; the first one that is not taken broke it, or follows its end."""
        for taken, character in enumerate(text):
            if not self._take(character):
                return taken
            if self.state == "complete":
                return taken + 1
        return len(text)

    def finish(self) -> State:
        """No more characters come: `complete`, or `broken` if the value was not."""
        if self.state == "open" and not self._nesting and (self._word or self._number):
            self._end_scalar()
        if self.state == "open":
            self.state = "broken"
        return self.state

    def _take(self, character: str) -> bool:
        """Whether `character` belongs to the value."""
        if self.state != "open":
            return False
        if self._is_in_string:
            return self._take_in_string(character)
        if self._word or self._number:
            if character.isalnum() or character in "+-.":
                return self._take_in_scalar(character)
            self._end_scalar()
            if self.state != "open":
                return False
        if character in _WHITESPACE:
            return True
        return self._take_structure(character)

    def _take_in_string(self, character: str) -> bool:
        if self._escape:
            return self._take_escaped(character)
        if character == "\\":
            self._escape = character
        elif character == '"':
            self._is_in_string = False
            self._end_string()
        elif character < " ":
            return self._break()
        return True

    def _take_escaped(self, character: str) -> bool:
        self._escape += character
        if len(self._escape) == 2:
            if character in _ESCAPES:
                self._escape = ""
            return character in _ESCAPES or character == "u" or self._break()
        if character not in _HEX:
            return self._break()
        if len(self._escape) == 6:
            self._escape = ""
        return True

    def _take_structure(self, character: str) -> bool:
        expects = self._expects
        if character in "]}":
            return self._close(character)
        if expects in ("separator", "colon"):
            return self._take_separator(character)
        if expects in ("key", "first key") and character != '"':
            return self._break()
        if character in "[{":
            return self._open(character)
        return self._begin_scalar(character) or self._break()

    def _take_separator(self, character: str) -> bool:
        if self._expects == "colon":
            self._expects = "value"
            return character == ":" or self._break()
        self._expects = "key" if self._nesting[-1] == "{" else "value"
        return character == "," or self._break()

    def _open(self, character: str) -> bool:
        if len(self._nesting) == MAX_DEPTH:
            return self._break()
        self._nesting.append(character)
        self._expects = "first key" if character == "{" else "first value"
        return True

    def _close(self, character: str) -> bool:
        opening = "[" if character == "]" else "{"
        may_close = ("first value", "separator") if opening == "[" else ("first key", "separator")
        if not self._nesting or self._nesting[-1] != opening or self._expects not in may_close:
            return self._break()
        self._nesting.pop()
        self._end_value()
        return True

    def _end_string(self) -> None:
        if self._expects in ("key", "first key"):
            self._expects = "colon"
        else:
            self._end_value()

    def _begin_scalar(self, character: str) -> bool:
        self._is_in_string = character == '"'
        self._word = character if character in "tfn" else ""
        self._number = _NUMBER_BEGINNINGS.get(character, "")
        return self._is_in_string or bool(self._word or self._number)

    def _take_in_scalar(self, character: str) -> bool:
        """Whether the number or word can go on like this."""
        if self._number:
            self._number = _NUMBER_STEPS[self._number].get(character, "")
            return bool(self._number) or self._break()
        self._word += character
        return any(word.startswith(self._word) for word in _WORDS) or self._break()

    def _end_scalar(self) -> None:
        is_whole = self._word in _WORDS or self._number in _NUMBER_ENDS
        self._word = self._number = ""
        if is_whole:
            self._end_value()
        else:
            self._break()

    def _end_value(self) -> None:
        if self._nesting:
            self._expects = "separator"
        else:
            self._expects, self.state = "nothing", "complete"

    def _break(self) -> bool:
        self.state = "broken"
        return False

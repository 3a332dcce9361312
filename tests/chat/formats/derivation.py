"""Answers that a grammar derives, at random and byte by byte.

It knows llguidance, and no format. A vocabulary is all bytes, and a control token for each marker
unless markers are to be text.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

import llguidance

from lmrun.engines.llama_cpp.constraints.grammars.lark import check_lark
from lmrun.settings.structured import GrammarOutput

MOST_TOKENS = 6000
BYTES = 256


@dataclass(frozen=True)
class Vocabulary:
    """`specials`: texts of control tokens. The token after them ends an answer."""

    specials: tuple[str, ...]
    bos_token_id = None

    @property
    def eos_token_id(self) -> int:
        return BYTES + len(self.specials)

    @property
    def special_token_ids(self) -> list[int]:
        return list(range(BYTES, self.eos_token_id + 1))

    @property
    def tokens(self) -> list[bytes]:
        names = [b"\xff" + text.encode() for text in (*self.specials, "<eos>")]
        return [bytes([byte]) for byte in range(BYTES)] + names

    def __call__(self, text: bytes) -> list[int]:
        return list(text)

    def split(self, text: str) -> list[int]:
        """The tokens of `text`."""
        tokens: list[int] = []
        while text:
            special = next((each for each in self.specials if text.startswith(each)), "")
            if special:
                tokens.append(BYTES + self.specials.index(special))
            else:
                tokens += text[0].encode()
            text = text[len(special) or 1 :]
        return tokens

    def join(self, tokens: list[int]) -> str:
        """The text of `tokens`, control tokens revealed."""
        return b"".join(self.tokens[token].removeprefix(b"\xff") for token in tokens).decode()


class Derivation:
    """Texts of `output`'s grammar."""

    def __init__(self, output: GrammarOutput, *, has_control_tokens: bool) -> None:
        self._output = output
        specials = tuple(output.markers.values()) if has_control_tokens else ()
        self.vocabulary = Vocabulary(specials)
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(self.vocabulary))
        self._texts = [self.vocabulary.split(text) for text in _find_texts(output)]

    def make_matcher(self) -> Any:
        """At the grammar's beginning."""
        rules = {
            rule: f"<[{token}]>" if token >= BYTES else json.dumps(text, ensure_ascii=False)
            for rule, text in self._output.markers.items()
            for token in self.vocabulary.split(text)[:1]
        }
        markers = "".join(f"{rule}: {written}\n" for rule, written in rules.items())
        lark = check_lark(self._output.grammar, _write_compact)
        grammar = llguidance.LLMatcher.grammar_from_lark(lark + markers)
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def derive(self, seed: int) -> str:
        """A whole text. It tries to write the grammar's own texts, so that it gets somewhere."""
        matcher, choices = self.make_matcher(), random.Random(seed)
        written: list[int] = []
        while len(written) < MOST_TOKENS:
            if matcher.is_stopped() or (matcher.is_accepting() and choices.random() < 0.3):
                return self.vocabulary.join(written)
            tokens = choices.choice(self._texts) if choices.random() < 0.5 else []
            if not tokens or matcher.validate_tokens(tokens) < len(tokens):
                tokens = [choices.choice(self._find_allowed(matcher))]
            assert matcher.consume_tokens(tokens)
            written += tokens
        raise AssertionError(f"no end in sight: {self.vocabulary.join(written[:500])!r}")

    def _find_allowed(self, matcher: Any) -> list[int]:
        biases = matcher.compute_logit_bias()[: self.vocabulary.eos_token_id]
        return [token for token, bias in enumerate(biases) if bias]


def _find_texts(output: GrammarOutput) -> list[str]:
    rules = re.sub(r"%json .*", "", output.grammar)
    literals = [json.loads(text) for text in re.findall(r'"(?:[^"\\]|\\.)*"', rules)]
    return [text for text in [*literals, *output.markers.values(), *'"}],:'] if text]


def _write_compact(schema: Any) -> Any:
    return {**schema, "x-guidance": {"whitespace_flexible": False}}

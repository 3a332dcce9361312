"""Texts of a wanted length that no contender has seen before. Pure.

Every word is one token of SmolLM2's vocabulary with the space before it, and the first words
depend on the seed: a server that keeps prompts finds nothing of an earlier repeat's.
"""

from __future__ import annotations

import random

_WORDS = """
time year people way day man life child world school state family student group country problem
hand part place case week system program question work government number night point home water
room mother area money story fact month right study book eye job word business issue side kind
head house service father power game line end member law car city community name president team
body information back parent face others level office health person art war history result change
reason research air teacher force education river window market summer winter
""".split()  # noqa: SIM905  # ninety-nine lines otherwise


def make_text(tokens: int, seed: str) -> str:
    """Random words, `tokens` of them."""
    generator = random.Random(seed)
    return " " + " ".join(generator.choices(_WORDS, k=tokens))


def make_short_prompt(seed: str) -> str:
    """Two dozen tokens: fresh words, then the beginning of a story."""
    return make_text(8, seed) + ". Once upon a time, in a small town by the sea, there lived"

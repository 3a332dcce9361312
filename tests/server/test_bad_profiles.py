"""Broken profiles, applied one after the other to a server that answers: each is refused with its
places, and nobody notices.

`make bad-profiles` applies 1,000 of them and says how long each took to be refused.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from lmrun.errors import ProfileInvalid
from lmrun.profile.loader import load_profile
from tests.support.profiles import ask, chat_body, posting, read_events, write_script
from tests.support.server import Server, eventually, serving

COUNT = int(os.environ.get("LMRUN_BAD_PROFILES", "60"))
MOST_BYTES = 100_000
SLOWEST_S = 2.0
"""Ten times what is aimed at, which `make bad-profiles` shows: a test must not fail of a busy
machine."""
TALK = {"match": "long", "pieces": ["tick "], "repeat": 1_000_000, "seconds_per_token": 0.02}
HEAD = """\
version: 1   # what we have
server: {port: 0, limits: {queue: 64, body: 32MiB}}
presets: &presets
  p: {system_prompt: "Be brief.", prediction: {temperature: 0.5, stop_strings: ["\\n"]}}
models:
  a: {source: file:./a.scripted.json, preset: p}
"""
MODEL = """\
  b{number}:
    source: file:./a.scripted.json
    state: absent   # for now
    load: {{context_length: 4096, gpu: {{ratio: off}}}}
    ttl: 10m
"""
PIECES = [
    "\t", "\n", "  ", ": ", "- ", "? ", "&a ", "*a", "!!str ", "<<: ", "{", "}", "[", "]", "'", '"',
    "|", ">", "---\n", "%YAML 1.2\n", "#", "\0", "\ufeff", "~", "${env:KEY}", "${", "1e999", "0x",
    "9" * 70, "-1", "@", "`", "version: 2\n", "[" * 60, "unknown: 1\n", "x",
]  # fmt: skip


def break_profile(source: random.Random, folder: Path) -> str:
    """A profile with some characters replaced at random, of any size up to the largest."""
    most = (MOST_BYTES - len(HEAD)) // (len(MODEL) + 4)
    count = source.choice([0, 1, 20, most])
    text = HEAD + "".join(MODEL.format(number=number) for number in range(count))
    while True:
        for _ in range(source.randint(1, 4)):
            place = source.randrange(len(text))
            end = place + source.randint(0, 30)
            text = text[:place] + source.choice(PIECES) + text[end:]
        (folder / "trial.yaml").write_text(text)
        try:
            load_profile(folder / "trial.yaml", {})
        except ProfileInvalid:
            return text


class Listener:
    """Somebody who streams, and somebody who asks, until `stop`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._is_done = threading.Event()
        self.pieces: list[str] = []
        self.answers: list[str] = []
        self._threads = [threading.Thread(target=it) for it in (self._listen, self._ask)]

    def __enter__(self) -> Listener:
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.pieces and self.answers)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_done.set()
        for thread in self._threads:
            thread.join(20)

    def _listen(self) -> None:
        with posting(self._address, chat_body("long", stream=True)) as response:
            for event in read_events(response):
                self.pieces.append(event["choices"][0]["delta"].get("content") or "")
                if self._is_done.is_set():
                    return

    def _ask(self) -> None:
        while not self._is_done.is_set():
            self.answers.append(ask(self._address, "Hi"))


def refuse(server: Server, profile: Path, text: str) -> float:
    """Seconds until the profile was refused, with its places."""
    profile.write_text(text)
    started_s = time.monotonic()
    with pytest.raises(ProfileInvalid) as caught:
        server.apply(profile)
    seconds = time.monotonic() - started_s
    problems = caught.value.problems
    assert problems
    assert all(it.line > 0 and it.column > 0 for it in problems), problems
    return seconds


@pytest.mark.timeout(1800)
def test_broken_profiles_are_refused_with_their_places_and_disturb_nobody(tmp_path: Path) -> None:
    write_script(tmp_path / "a.scripted.json", TALK, {"pieces": ["Hi"]}, context_length=10_000_000)
    profile = tmp_path / "p.yaml"
    profile.write_text(HEAD)
    source = random.Random(7)
    with serving(tmp_path, profile) as server:
        pid = server.ready("a").pid
        with Listener(server.address) as listener:
            slowest_s = sorted(
                refuse(server, profile, break_profile(source, tmp_path)) for _ in range(COUNT)
            )
            heard = len(listener.pieces)
            eventually(lambda: len(listener.pieces) > heard)
        assert not "".join(listener.pieces).replace("tick ", "")
        assert set(listener.answers) == {"Hi"}
        assert server.ready("a").pid == pid
        assert server.status.profile is not None
        assert server.status.profile.generation == 1
        assert server.condition("Converged").startswith("True")
    share = [slowest_s[int(part * (COUNT - 1))] for part in (0.5, 0.99, 1.0)]
    print("refused within s (median, 99 %, all):", *(f"{it:.3f}" for it in share))
    assert slowest_s[-1] <= SLOWEST_S

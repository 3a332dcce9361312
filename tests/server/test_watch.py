"""A watched profile: valid changes are applied, invalid ones are told and change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.profiles import chat_body, posting, read_events, write_profile, write_script
from tests.support.server import eventually, free_port, serving


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write_script(tmp_path / "a.scripted.json")
    write_script(tmp_path / "b.scripted.json")
    return write_profile(tmp_path / "p.yaml", {"a": {"source": "file:./a.scripted.json"}})


def edit(profile: Path, **models: Any) -> None:
    content = json.loads(profile.read_text())
    content["models"] |= models
    replacement = profile.with_suffix(".new")
    replacement.write_text(json.dumps(content))
    replacement.replace(profile)


def test_an_edit_is_applied_by_itself(tmp_path: Path, profile: Path) -> None:
    with serving(tmp_path, profile, "--watch") as server:
        edit(profile, b={"source": "file:./b.scripted.json"})
        server.ready("b")
        assert server.status.profile is not None
        assert (server.status.profile.generation, server.status.profile.watching) == (2, True)


def test_an_edit_of_an_include_is_applied_too(tmp_path: Path, profile: Path) -> None:
    root = tmp_path / "root.yaml"
    root.write_text("version: 1\ninclude: [p.yaml]\n")
    with serving(tmp_path, root, "--watch") as server:
        edit(profile, b={"source": "file:./b.scripted.json"})
        server.ready("b")


def test_an_invalid_edit_leaves_the_stream_and_the_generation_and_is_told_with_its_line(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile, "--watch") as server:
        pid = server.ready("a").pid
        good = profile.read_text()
        with posting(server.address, chat_body("slowly", stream=True)) as response:
            events = read_events(response)
            next(events)
            profile.write_text("version: 1\nmodels:\n  a:\n    source: 7\n")
            eventually(lambda: "p.yaml:4:13: models.a.source" in server.condition("ProfileValid"))
            assert server.status.profile is not None
            assert server.status.profile.generation == 1
            assert server.ready("a").pid == pid
            assert next(events)["choices"][0]["delta"]["content"]
        profile.write_text(good)
        eventually(lambda: server.condition("ProfileValid").startswith("True"))


def test_a_removed_profile_changes_nothing_and_coming_back_is_noticed(
    tmp_path: Path, profile: Path
) -> None:
    with serving(tmp_path, profile, "--watch") as server:
        text = profile.read_text()
        profile.unlink()
        eventually(lambda: server.condition("ProfileValid").startswith("False"))
        assert "p.yaml" in server.condition("ProfileValid")
        server.ready("a")
        profile.write_text(text)
        edit(profile, b={"source": "file:./b.scripted.json"})
        server.ready("b")
        assert server.condition("ProfileValid").startswith("True")


def test_without_watch_an_edit_waits_for_an_apply(tmp_path: Path, profile: Path) -> None:
    port = free_port()
    write_profile(profile, {"a": {"source": "file:./a.scripted.json"}}, port=port)
    with serving(tmp_path, profile) as server:
        edit(profile, b={"source": "file:./b.scripted.json"})
        assert server.status.profile is not None
        assert not server.status.profile.watching
        assert server.instance("b") is None
        server.apply(profile)
        server.ready("b")

"""A template from the profile, on its way through a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.profiles import ask, write_profile, write_script
from tests.support.server import Server

GREETS = {"match": "^greeting:hello$", "pieces": ["well met"]}
OTHER = {"pieces": ["pardon?"]}


def profile_of(folder: Path, **template: Any) -> Path:
    model = {"source": "file:./a.scripted.json", "prompt_template": template}
    return write_profile(folder / "p.yaml", {"a": model}, port=0)


def test_a_changed_template_reloads_the_model_and_a_broken_one_is_told_with_its_line(
    tmp_path: Path,
) -> None:
    write_script(tmp_path / "a.scripted.json", GREETS, OTHER)
    greeting = {"before_user": "greeting:", "stop_strings": ["met"]}
    with Server(tmp_path) as server:
        assert server.apply(profile_of(tmp_path, name="chatml")).converged
        assert ask(server.address, "hello") == "pardon?"

        (outcome,) = server.outcomes(profile_of(tmp_path, manual=greeting))
        assert (outcome.kind, outcome.error) == ("Reload", None)
        assert ask(server.address, "hello") == "well "
        assert server.outcomes(profile_of(tmp_path, manual=greeting)) == []

        broken = profile_of(tmp_path, jinja="{{ bos_token }}\n{% if %}")
        (outcome,) = server.outcomes(broken)
        assert outcome.error is not None and "line 2: " in outcome.error
        current = next(it for it in server.model("a").conditions if it.type == "UpToDate")
        assert (current.status, current.reason) == ("False", "RolledBack")
        assert "line 2: " in current.message and "prompt_template" in current.message
        assert ask(server.address, "hello") == "well "

        (tmp_path / "greet.jinja").write_text("greeting:{{ messages[-1].content }}\n")
        server.apply(profile_of(tmp_path, jinja="${file:./greet.jinja}"))
        assert ask(server.address, "hello") == "well met"

"""What the project promises about itself: walls between rooms, proportions, reasons."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "lmrun").rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def test_rooms_know_only_what_lies_below_them() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]

    done = subprocess.run(command, capture_output=True, cwd=ROOT, text=True, timeout=60)

    assert done.returncode == 0, done.stdout


def test_no_file_and_no_function_is_longer_than_a_reader_can_hold() -> None:
    too_long = []
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MAX_FILE_LINES:
            too_long.append(f"{module.relative_to(ROOT)}: {lines} lines")
        too_long += [
            f"{module.relative_to(ROOT)}:{node.lineno}: {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
        ]

    assert too_long == []


def test_every_module_says_what_it_holds() -> None:
    silent = [
        str(module.relative_to(ROOT))
        for module in MODULES
        if (text := module.read_text(encoding="utf-8")) and not ast.get_docstring(ast.parse(text))
    ]

    assert silent == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    decisions = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    declared = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        declared += extra

    names = {re.split(r"[<>=~!\[; ]", requirement)[0] for requirement in declared}
    missing = [
        name for name in sorted(names) if not re.search(rf"\| [^|]*{name}\b[^|]*\|", decisions)
    ]

    assert missing == []


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md", "docs/decisions.md"])
def test_links_of_a_document_lead_somewhere(document: str) -> None:
    file = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8"))

    assert [link for link in links if not (file.parent / link).exists()] == []


def test_the_profile_in_the_readme_is_valid(tmp_path: Path) -> None:
    from lmrun.profile.loader import load_profile

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert match is not None
    profile = tmp_path / "profile.yaml"
    profile.write_text(match[1])

    assert list(load_profile(profile, {}).profile.models) == ["smollm2-135m-instruct"]


def test_the_readme_names_every_command() -> None:
    from lmrun.cli.main import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]

    assert [name for name in names if f"| `lmrun {name}" not in text] == []

"""Problems as text and as JSON."""

from __future__ import annotations

from pathlib import Path

from lmrun.errors import Problem
from lmrun.profile.report import problems_to_json, problems_to_text

HERE = Problem("/home/me/p.yaml", 3, 5, "server.port", "must be a whole number")
WHOLE = Problem("/else/q.yaml", 0, 0, "", "no such file")


def test_each_problem_is_one_line_that_editors_can_jump_to() -> None:
    assert problems_to_text([HERE, WHOLE]) == (
        "/home/me/p.yaml:3:5: server.port: must be a whole number\n/else/q.yaml: no such file"
    )


def test_files_below_the_working_folder_are_shortened() -> None:
    assert problems_to_text([HERE, WHOLE], relative_to=Path("/home/me")) == (
        "p.yaml:3:5: server.port: must be a whole number\n/else/q.yaml: no such file"
    )


def test_no_problems_are_no_lines() -> None:
    assert problems_to_text([]) == ""


def test_json_has_each_part_by_name() -> None:
    assert problems_to_json([HERE]) == [
        {
            "file": "/home/me/p.yaml",
            "line": 3,
            "column": 5,
            "path": "server.port",
            "message": "must be a whole number",
        }
    ]

"""What a worker may know of the environment."""

from __future__ import annotations

from pathlib import Path

from lmrun.runtime.process.environment import make_environment


def test_only_named_variables_are_passed_on() -> None:
    given = {
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C.UTF-8",
        "LC_API_KEY": "canary",
        "OPENAI_API_KEY": "canary",
        "HF_TOKEN": "canary",
        "PYTHONSTARTUP": "canary",
        "GGML_BACKEND_PATH": "canary",
        "LD_PRELOAD": "canary",
    }
    assert make_environment(given, None) == {
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C.UTF-8",
        "GGML_NO_BACKTRACE": "1",
        "GOMP_SPINCOUNT": "1000",
    }


def test_the_user_may_choose_how_openmp_waits() -> None:
    assert make_environment({"GOMP_SPINCOUNT": "0"}, None)["GOMP_SPINCOUNT"] == "0"


def test_a_source_checkout_comes_after_what_is_there() -> None:
    environment = make_environment({"PYTHONPATH": "/mine"}, Path("/checkout"))
    assert environment["PYTHONPATH"] == "/mine:/checkout"
    assert make_environment({}, Path("/checkout"))["PYTHONPATH"] == "/checkout"

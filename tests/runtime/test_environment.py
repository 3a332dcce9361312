"""What a worker may know of the environment."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.runtime.process.environment import make_environment

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "GLIBC_TUNABLES"])
def test_the_user_may_choose_what_was_chosen_for_speed(name: str) -> None:
    assert make_environment({name: "0"}, None)[name] == "0"


@pytest.mark.skipif(
    platform.libc_ver() < ("glibc", "2.35") or not THP.exists() or "[never]" in THP.read_text(),
    reason="only glibc asks for huge pages, and only where Linux gives them",
)
def test_what_a_worker_allocates_lies_in_huge_pages() -> None:
    program = (
        "import ctypes, pathlib\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "ctypes.memset(libc.malloc(ctypes.c_size_t(2**26)), 1, 2**26)\n"
        "print(pathlib.Path('/proc/self/smaps_rollup').read_text())"
    )
    environment = make_environment(os.environ, None)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("AnonHugePages:")]
    assert int(line.split()[1]) > 0


def test_a_source_checkout_comes_after_what_is_there() -> None:
    environment = make_environment({"PYTHONPATH": "/mine"}, Path("/checkout"))
    assert environment["PYTHONPATH"] == "/mine:/checkout"
    assert make_environment({}, Path("/checkout"))["PYTHONPATH"] == "/checkout"

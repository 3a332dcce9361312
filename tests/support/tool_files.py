"""The tools of LM Studio's documentation as functions of a profile, and a profile that has them.

It knows no server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.profiles import write_profile
from tests.support.smollm2 import smollm2_path

ADAPTER = Path(__file__).parents[2] / "examples" / "models" / "smollm2-135m-tools-lora.gguf"

FUNCTIONS = '''
import math
from pathlib import Path


def multiply(a: float, b: float) -> float:
    """Given two numbers a and b. Returns the product of them."""
    return a * b


def add(a: int, b: int) -> int:
    """Given two numbers a and b, returns the sum of them."""
    return a + b


def is_prime(n: int) -> bool:
    """Given a number n, returns True if n is a prime number."""
    if n < 2:
        return False
    return all(n % i for i in range(2, int(math.sqrt(n)) + 1))


def create_file(name: str, content: str) -> str:
    """Create a file with the given name and content."""
    path = Path(name)
    if path.exists():
        return "Error: File already exists."
    path.write_text(content, encoding="utf-8")
    return "File created."
'''


def write_tools(folder: Path, **policies: str) -> dict[str, Any]:
    """The profile's section `tools` for functions that are written to `folder`; a tool is allowed
    unless `policies` says otherwise."""
    (folder / "lms_tools.py").write_text(FUNCTIONS)
    return {
        name: {"python": f"lms_tools:{name}", "policy": policies.get(name, "allow")}
        for name in ("multiply", "add", "is_prime", "create_file")
    }


def real_model(**more: Any) -> dict[str, Any]:
    """SmolLM2 with the adapter that has learned to call tools."""
    return {
        "source": f"file:{smollm2_path()}",
        "load": {"context_length": 2048, "adapters": [{"source": f"file:{ADAPTER}"}]},
        "prompt_template": {"name": "qwen2.5"},
        "preset": "greedy",
        **more,
    }


def write_agent_profile(folder: Path, **policies: str) -> Path:
    """`assistant` is the real model, `helper` an agent on it that adds and
    multiplies, `calculator` one that only multiplies."""
    presets = {"greedy": {"prediction": {"temperature": 0, "repeat_penalty": 1, "max_tokens": 200}}}
    agents = {
        "helper": {"model": "assistant", "tools": ["multiply", "add"]},
        "calculator": {"model": "assistant", "tools": ["multiply"]},
    }
    return write_profile(
        folder / "p.yaml",
        {"assistant": real_model()},
        presets=presets,
        tools=write_tools(folder, **policies),
        agents=agents,
    )

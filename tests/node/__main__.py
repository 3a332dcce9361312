"""Runs the tests in JavaScript against a server of their own, and those with MCP servers for Node:
`python -m tests.node`.

The packages are installed once, from the lock file, into `.cache/` at the repository's root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.profiles import write_profile
from tests.support.server import serving
from tests.support.smollm2 import smollm2_path

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".cache" / "node"
LEAST_MAJOR = 20
MCP_TESTS = ("mcp_servers.py", "mcp_library.py", "mcp_loop.py")


def main() -> int:
    """The exit status of the first test runner that fails."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or _find_major(node) < LEAST_MAJOR:
        print(f"These tests need Node {LEAST_MAJOR} or newer, with npm.", file=sys.stderr)
        return 1
    _install(npm)
    servers = [sys.executable, "-m", "pytest", "-q", *(str(HERE / it) for it in MCP_TESTS)]
    return _run_javascript(node) or subprocess.run(servers, check=False).returncode


def _run_javascript(node: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with serving(home, _write_profile(home)) as server:
            environment = {**os.environ, "LMRUN_ADDRESS": server.address}
            command = [node, "--test", "--test-reporter=spec", str(INSTALLED / "openai.test.mjs")]
            return subprocess.run(command, env=environment, check=False).returncode


def _find_major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def _install(npm: str) -> None:
    """Beside the tests, since Node looks for packages from a file's own folder upwards."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    mark = INSTALLED / "installed.json"
    for name in ("package.json", "package-lock.json", "openai.test.mjs"):
        shutil.copy(HERE / name, INSTALLED / name)
    if not mark.exists() or mark.read_bytes() != lock:
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=INSTALLED, check=True)
        mark.write_bytes(lock)


def _write_profile(home: Path) -> Path:
    script = {"replies": [{"pieces": ["Hello", " world"]}]}
    path = home / "hello.scripted.json"
    path.write_text(json.dumps(script))
    models: dict[str, dict[str, Any]] = {
        "scripted": {"source": f"file:{path}"},
        "smollm2": {"source": f"file:{smollm2_path()}", "load": {"context_length": 1024}},
    }
    return write_profile(home / "profile.yaml", models)


if __name__ == "__main__":
    sys.exit(main())

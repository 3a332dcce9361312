"""A repository on this disk, as somebody pushes to it; keys to sign with, made on the spot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = "profile@example.com"


class Remote:
    """A bare repository and a clone from which commits are pushed. Its own configuration lies in
    `configuration`, which both git and the server are to read instead of the user's."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "remote.git"
        self.clone = folder / "clone"
        self.configuration = folder / "gitconfig"
        self._folder = folder
        self.configuration.write_text(
            f"[user]\n name = Tester\n email = {IDENTITY}\n[init]\n defaultBranch = main\n"
        )
        self.run("init", "--quiet", "--bare", str(self.bare), where=folder)
        self.run("init", "--quiet", str(self.clone), where=folder)

    @property
    def environment(self) -> dict[str, str]:
        return {"GIT_CONFIG_GLOBAL": str(self.configuration), "GIT_CONFIG_NOSYSTEM": "1"}

    def run(self, *arguments: str, where: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=where or self.clone,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def push(self, files: dict[str, str], *, signed: bool = False) -> str:
        """Commit `files` beside what is there, and return the commit's id."""
        for name, text in files.items():
            file = self.clone / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.run("add", "--all")
        self.run("commit", "--quiet", "--allow-empty", "-m", "Change", *(["-S"] if signed else []))
        self.run("push", "--quiet", "--force", str(self.bare), "HEAD:main")
        return self.run("rev-parse", "HEAD")

    def trust_ssh_key(self) -> Path:
        """Sign with a new ssh key, whose signatures count."""
        key = self._folder / "signing-key"
        _make_ssh_key(key)
        signers = self._folder / "allowed-signers"
        signers.write_text(f"{IDENTITY} {key.with_suffix('.pub').read_text()}")
        self._configure(
            f"[gpg]\n format = ssh\n[user]\n signingKey = {key}\n"
            f'[gpg "ssh"]\n allowedSignersFile = {signers}\n'
        )
        return key

    def sign_with_a_stranger(self) -> None:
        """Sign with a new ssh key that nobody trusts."""
        key = self._folder / "strange-key"
        _make_ssh_key(key)
        self._configure(f"[user]\n signingKey = {key}\n")

    def _configure(self, text: str) -> None:
        self.configuration.write_text(self.configuration.read_text() + text)


def _make_ssh_key(key: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)

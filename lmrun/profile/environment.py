"""Which variables a profile refers to. It knows no types: a client that only ships their values
must not wait for those to be imported."""

from __future__ import annotations

import os
from pathlib import Path

from lmrun.profile.references import find_environment
from lmrun.profile.text.files import ReadText, read_text
from lmrun.profile.text.overlay import read_overlaid


def referenced_environment(path: Path, read: ReadText = read_text) -> frozenset[str]:
    """The names of the `${env:…}` in a profile, as far as it can be read; never raises for it."""
    tree = read_overlaid(Path(os.path.abspath(path)), read).root
    return find_environment(tree) if tree else frozenset()

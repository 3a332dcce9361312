"""`drift: adopt`: what clients have changed by hand becomes what the profile says.

Level-triggered, like the reconciler: it looks at the drift there is. It neither loads nor unloads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lmrun.errors import LmrunError, ProfileInvalid, StoreError
from lmrun.failpoints import reach
from lmrun.profile.loader import LoadedProfile
from lmrun.profile.text.files import Unreadable, explain, read_text
from lmrun.profile.writing.values import write_value
from lmrun.profile.writing.write_back import WrittenBack, write_back
from lmrun.reconcile.drift.drift import Drift
from lmrun.reconcile.intake import Intake
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.reporting.conditions import describe_problem
from lmrun.store.atomic import write_atomic
from lmrun.store.generations import Origin

log = logging.getLogger("lmrun.profile")

LOOK_ANYWAY_S = 30.0
"""A look without a change: a file may have become writable."""


class Adoption:
    """Writes drift into the profile's files and has the profile accepted that they are then.

    `repository`: the folder of files that a git repository is the source of; those stay.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        intake: Intake,
        repository: Path,
        on_change: Callable[[], None],
    ) -> None:
        self._reconciler = reconciler
        self._intake = intake
        self._repository = repository
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._tried: tuple[LoadedProfile, tuple[Drift, ...]] | None = None
        self._obstacles: dict[tuple[str, str], str] = {}

    def wake(self) -> None:
        """Something may have changed: look again."""
        self._wake.set()

    def find_obstacle(self, drift: Drift) -> str | None:
        """Why this drift is not adopted, where it is to be."""
        return self._obstacles.get(_key(drift))

    async def run(self) -> None:
        """Adopt what there is to adopt, until cancelled."""
        while True:
            self._wake.clear()
            async with self._intake.editing:
                await self.adopt()
            try:
                async with asyncio.timeout(LOOK_ANYWAY_S):
                    await self._wake.wait()
            except TimeoutError:
                self._tried = None

    async def adopt(self) -> None:
        """Write back all drift that can be; `find_obstacle` then tells why the rest cannot.

        What was tried already is not tried again before something else has changed.
        """
        loaded = self._reconciler.loaded
        if loaded is None or self._reconciler.drift_policy != "adopt":
            self._note({})
            return
        drifts = self._reconciler.find_drift()
        if self._tried is not None and self._tried[0] is loaded and self._tried[1] == drifts:
            return
        self._tried = loaded, drifts
        self._note(await self._write_back(loaded, drifts))

    async def _write_back(
        self, loaded: LoadedProfile, drifts: Sequence[Drift]
    ) -> dict[tuple[str, str], str]:
        """Adopt; what is in the way of the rest."""
        obstacles = {_key(it): it.obstacle for it in drifts if it.obstacle is not None}
        # Of several for one field, as instances are, the next one's turn is the next time.
        wanted = [*{it.path: it for it in drifts if it.obstacle is None}.values()]
        if not wanted:
            return obstacles
        texts = {source.path: source.text for source in loaded.texts}
        fields = [(it.path, it.observed) for it in wanted]
        # A large profile takes its time to be read again, and streams go on meanwhile.
        written = await asyncio.to_thread(write_back, loaded.root, texts, fields)
        failed = await self._save(loaded, texts, written, wanted) if written.texts else {}
        for it in wanted:
            reason = written.refused.get(it.path) or failed.get(written.files.get(it.path))
            if reason is not None:
                obstacles[_key(it)] = reason
        return obstacles

    async def _save(
        self,
        loaded: LoadedProfile,
        texts: Mapping[Path, str],
        written: WrittenBack,
        wanted: Sequence[Drift],
    ) -> dict[Path | None, str]:
        """Write the files and have what they are accepted; why each of the others was not."""
        try:
            await self._intake.read_texts(loaded.root, {**texts, **written.texts}, {})
            if self._reconciler.loaded is not loaded:
                return {}
            failed = await asyncio.to_thread(self._write_files, texts, written.texts)
            reach("drift.files_written")
            done = {file: text for file, text in written.texts.items() if file not in failed}
            adopted = [it for it in wanted if written.files.get(it.path) in done]
            if adopted:
                await self._accept(loaded, {**texts, **done}, adopted)
            return failed
        except LmrunError as error:
            reason = describe_problem(error)
            if isinstance(error, ProfileInvalid):
                reason = f"the profile would not be valid: {reason}"
            return dict.fromkeys(written.texts, reason)

    def _write_files(
        self, known: Mapping[Path, str], texts: Mapping[Path, str]
    ) -> dict[Path | None, str]:
        """Each file that still is what is known of it; why each of the others was not written."""
        failed: dict[Path | None, str] = {}
        for file, text in texts.items():
            if file.is_relative_to(self._repository):
                failed[file] = "the profile comes from a repository; commit the change there"
            elif (reason := _write_file(file, known[file], text)) is not None:
                failed[file] = reason
        return failed

    async def _accept(
        self, loaded: LoadedProfile, texts: Mapping[Path, str], adopted: Sequence[Drift]
    ) -> None:
        """Raises ProfileInvalid and StoreError."""
        new = await self._intake.read_texts(loaded.root, texts, {})
        if self._reconciler.loaded is not loaded:
            # Another profile was applied meanwhile, and has the files' say now.
            return
        authors = ", ".join(sorted({it.change.owner for it in adopted}))
        await self._reconciler.accept(new, Origin(authors, "adopt"), keep_drift=True)
        for it in adopted:
            log.info("adopted %s: %s, from %s", it.field, write_value(it.observed), it.change.owner)

    def _note(self, found: Mapping[tuple[str, str], str]) -> None:
        if found == self._obstacles:
            return
        for (_, field), reason in found.items() - self._obstacles.items():
            log.warning("%s is not adopted: %s", field, reason)
        self._obstacles = dict(found)
        self._on_change()


def _key(drift: Drift) -> tuple[str, str]:
    return drift.identifier, drift.field


def _write_file(file: Path, known: str, text: str) -> str | None:
    """Replace what is `known` of the file by `text`; why it was not, None when it was."""
    try:
        found = read_text(file)
        if found == text:
            # Written by a server that ended before it could have it accepted.
            return None
        if found != known:
            return f"{file} has changed since it was applied; apply it first"
        if not os.access(file, os.W_OK):
            return f"{file} may not be written"
        # A link stays one.
        target = file.resolve()
        write_atomic(target, text.encode(), mode=stat.S_IMODE(target.stat().st_mode))
    except (OSError, Unreadable) as error:
        return f"{file}: {explain(error)}"
    except StoreError as error:
        return str(error)
    return None

"""Following a repository: every new commit is fetched, checked, applied and tried out, and taken
back when it does not work.

Level-triggered: each look compares what the ref means with what was applied. It knows no HTTP and
not what a check is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from lmrun.checks.running import find_objections
from lmrun.checks.values import Ask
from lmrun.errors import GenerationUnknown, LmrunError, ProfileInvalid
from lmrun.failpoints import reach
from lmrun.profile.loader import LoadedProfile
from lmrun.reconcile.git.checkout import Checkouts
from lmrun.reconcile.git.memory import Refusal, read_memory, write_memory
from lmrun.reconcile.git.repository import Repository
from lmrun.reconcile.intake import Intake
from lmrun.reconcile.outcome import ActionEnded, ApplyEnded, ApplyEvent
from lmrun.reconcile.status import GitStatus
from lmrun.settings.git_source import GitSource
from lmrun.store.generations import Generations, Origin
from lmrun.store.home import find_user

log = logging.getLogger("lmrun.git")

APPLY_TIMEOUT_S = 3600.0
"""A new commit may have large models fetched first."""
CHECKS_TIMEOUT_S = 900.0
_SHORT = 12
_TAKING_BACK = "TakingBack"

Gate = Callable[[LoadedProfile], Awaitable[tuple[str, ...]]]
"""What the profile's checks say against it, nothing when they pass."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a follower acts on. `folder`: its own. `author`: the user it acts for."""

    folder: Path
    repository: Repository
    intake: Intake
    generations: Generations
    gate: Gate
    author: str
    on_change: Callable[[], None]
    now: Callable[[], str]


def make_follower(
    source: GitSource,
    folder: Path,
    environment: Mapping[str, str],
    *,
    intake: Intake,
    generations: Generations,
    ask: Ask,
    on_change: Callable[[], None],
) -> GitFollower:
    """A follower that asks the profile's checks of the server's own models. It has done nothing."""

    repository = Repository(folder / "repository", source, environment)
    gate = partial(find_objections, ask=ask)
    around = Surroundings(
        folder, repository, intake, generations, gate, find_user(), on_change, _utc_now
    )
    return GitFollower(source, around)


class GitFollower:
    """Keeps what runs at what the ref means. `refusal`: why it is not, None when it is."""

    def __init__(self, source: GitSource, around: Surroundings) -> None:
        self._source = source
        self._around = around
        self._checkouts = Checkouts(around.folder)
        self._memory_file = around.folder / "state.json"
        self._memory = read_memory(self._memory_file, source)
        self._head: str | None = None
        self._fetched: str | None = None
        self.refusal: Refusal | None = Refusal("", "Starting", "")

    @property
    def profile(self) -> Path:
        """Where the profile lies on this machine."""
        return self._checkouts.current / self._source.path

    def status(self) -> GitStatus:
        memory = self._memory
        return GitStatus(
            url=self._source.shown_url,
            ref=self._source.ref,
            path=self._source.path,
            commit=memory.applied,
            good=memory.good,
            head=self._head,
            fetched=self._fetched,
            is_behind=self._head is None or self._head != memory.applied,
        )

    async def run(self) -> None:
        """Look at every interval, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._source.interval_s)

    async def look(self) -> None:
        """Fetch once, and make of it what has to be made. What goes wrong becomes `refusal`."""
        commit = ""
        try:
            commit = self._head = await self._around.repository.fetch()
            self._fetched = self._around.now()
            self._note(await self._follow(commit))
        except LmrunError as error:
            self._note(Refusal(commit, type(error).__name__, str(error)))

    async def _follow(self, commit: str) -> Refusal | None:
        memory = self._memory
        refused = memory.refused
        if refused is not None and refused.commit == commit:
            return await self._take_back(refused) if refused.reason == _TAKING_BACK else refused
        applied = self._around.intake.find_root()
        if memory.good == memory.applied == commit and applied is not None:
            return self._find_override(applied)
        if self._source.require_signed:
            await self._around.repository.require_signature(commit)
        loaded = await self._prepare(commit)
        if isinstance(loaded, Refusal):
            # Looked at again the next time: a variable or a secret may be there by then.
            self._tidy()
            return loaded
        return await self._deploy(commit)

    def _find_override(self, applied: Path) -> Refusal | None:
        """Somebody has applied something else by hand: that stands until the next commit."""
        if applied == self.profile:
            return None
        return Refusal("", "Overridden", f"{applied} was applied instead; the next commit counts.")

    async def _prepare(self, commit: str) -> LoadedProfile | Refusal:
        """The commit's files on the disk, and its profile if it is valid."""
        repository = self._around.repository
        files = await repository.list_files(commit)
        contents = await repository.read_blobs(sorted({file.blob for file in files}))
        folder = await asyncio.to_thread(self._checkouts.add, commit, files, contents)
        try:
            return await self._around.intake.read(folder / self._source.path, {})
        except ProfileInvalid as invalid:
            return Refusal(commit, type(invalid).__name__, str(invalid))

    async def _deploy(self, commit: str) -> Refusal | None:
        """Apply a commit and try it out; take it back when it fails."""
        log.info("commit %s of %s is applied", commit[:_SHORT], self._source.ref)
        before = self._around.intake.generation
        self._checkouts.switch(commit)
        reach("git.switched")
        self._remember(applied=commit)
        failure = await self._try(Origin(self._around.author, f"git {commit[:_SHORT]}"))
        if failure is None:
            reach("git.tried")
            self._remember(good=commit, refused=None)
            self._tidy()
            return None
        self._mark_failed(before)
        return await self._take_back(Refusal(commit, _TAKING_BACK, failure))

    async def _take_back(self, refusal: Refusal) -> Refusal:
        """Go back from a commit that failed. A server that ends meanwhile does it again."""
        self._refuse(refusal)
        reach("git.refused")
        back = await self._go_back(refusal.commit)
        reason = "RolledBack" if back else "GateFailed"
        return self._refuse(Refusal(refusal.commit, reason, f"{refusal.message} {back}".strip()))

    async def _try(self, origin: Origin) -> str | None:
        """Why what is current does not work; None when it converges and its checks pass."""
        intake = self._around.intake
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                applying = intake.apply(self.profile, {}, watch=False, origin=origin)
                failure = await _settle(applying)
            if failure is not None:
                return failure
            loaded = await intake.read(self.profile, {})
            async with asyncio.timeout(CHECKS_TIMEOUT_S):
                failures = await self._around.gate(loaded)
        except TimeoutError:
            return "It took too long to converge and to be checked."
        except LmrunError as error:
            return str(error)
        return f"Its checks failed: {'; '.join(failures)}." if failures else None

    async def _go_back(self, bad: str) -> str:
        """Apply what worked before, and say what that was; empty when there is nothing."""
        good, around = self._memory.good, self._around
        origin = Origin(around.author, f"git {bad[:_SHORT]} taken back")
        if good is not None and self._checkouts.locate(good).is_dir():
            self._checkouts.switch(good)
            self._remember(applied=good)
            failure = await _settle(
                around.intake.apply(self.profile, {}, watch=False, origin=origin)
            )
            end = "runs again" if failure is None else f"is back, and has not converged: {failure}"
            return f"Commit {good[:_SHORT]} {end}."
        try:
            failure = await _settle(around.intake.roll_back(None, {}, origin=origin))
        except GenerationUnknown:
            return ""
        end = "runs again" if failure is None else f"has not converged: {failure}"
        return f"What was applied before it {end}."

    def _mark_failed(self, before: int) -> None:
        """Of the generation that the commit became; a commit may leave the profile as it was."""
        generation = self._around.intake.generation
        if generation == before:
            return
        try:
            self._around.generations.mark(generation, "failed")
        except LmrunError as error:
            log.error("generation %d: %s", generation, error)

    def _refuse(self, refusal: Refusal) -> Refusal:
        self._remember(refused=refusal)
        self._tidy()
        return refusal

    def _remember(self, **changes: object) -> None:
        self._memory = msgspec.structs.replace(self._memory, **changes)
        write_memory(self._memory_file, self._memory)

    def _tidy(self) -> None:
        kept = {self._memory.applied, self._memory.good, self._checkouts.find_current()}
        self._checkouts.keep_only({commit for commit in kept if commit is not None})

    def _note(self, refusal: Refusal | None) -> None:
        if refusal != self.refusal:
            self.refusal = refusal
            if refusal is not None:
                log.error("commit %s: %s", refusal.commit[:_SHORT] or "unknown", refusal.message)
        self._around.on_change()


async def _settle(applying: AsyncGenerator[ApplyEvent, None]) -> str | None:
    """Why an apply has not converged once everything was tried; None when it has."""
    failed: dict[str, str] = {}
    async with aclosing(applying) as events:
        async for event in events:
            if isinstance(event, ActionEnded):
                failed.pop(event.outcome.target, None)
                if event.outcome.error is not None:
                    failed[event.outcome.target] = event.outcome.error
            elif isinstance(event, ApplyEnded) and event.converged:
                return None
    named = "; ".join(f"{target}: {error}" for target, error in failed.items())
    return f"It has not converged: {named or 'something is missing'}."


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""How a profile gets in: named by a request, restored at start, or changed while watched.

A profile that is invalid changes nothing; `problem` keeps what is wrong with it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path

from msgspec.structs import replace

from lmrun.catalog.catalog import Catalog
from lmrun.errors import LmrunError, Problem, ProfileInvalid, ProfileSuperseded
from lmrun.profile.loader import LoadedProfile, load_profile
from lmrun.reconcile.desired import read_desired
from lmrun.reconcile.history import find_previous
from lmrun.reconcile.outcome import ApplyEvent, Plan, Planned, RollbackPlan
from lmrun.reconcile.pinning import Watched
from lmrun.reconcile.plan import Observed, make_plan
from lmrun.reconcile.pricing import Prices
from lmrun.reconcile.reconciler import Reconciler
from lmrun.reconcile.reporting.conditions import describe_problem
from lmrun.reconcile.saved import digest_files
from lmrun.reconcile.watch import watch_files
from lmrun.store.generations import Generation, Generations, Origin
from lmrun.store.home import Home, find_user
from lmrun.store.measurements import Measurements

log = logging.getLogger("lmrun.profile")


class Intake:
    """The way in for profiles. `environment` is the server's own; requests may add to it."""

    def __init__(
        self,
        reconciler: Reconciler,
        generations: Generations,
        environment: Mapping[str, str],
        on_change: Callable[[], None],
        require_locked: Callable[[LoadedProfile], Awaitable[None]],
    ) -> None:
        """`require_locked` raises LockMismatch where a profile is not what its lock file pins."""
        self._reconciler = reconciler
        self._generations = generations
        self._environment = dict(environment)
        self._on_change = on_change
        self._require_locked = require_locked
        self._watched_lock = Watched(require_locked)
        self._is_locked = False
        self._user = find_user()
        self._start_watching = asyncio.Event()
        self.problem: LmrunError | None = None
        self.is_watching = False
        self.editing = asyncio.Lock()
        """Held while the server writes the profile's files, which is no news then."""

    @property
    def generation(self) -> int:
        """The number of what was accepted last; 0 for nothing."""
        return self._reconciler.generation

    def find_root(self) -> Path | None:
        """The profile that should be, None when none should."""
        loaded = self._reconciler.loaded
        return loaded.root if loaded else None

    async def read(self, path: Path, shipped: Mapping[str, str]) -> LoadedProfile:
        """The profile at `path`, with the client's values of variables over the server's own.

        Raises ProfileInvalid.
        """
        return await asyncio.to_thread(load_profile, path, {**self._environment, **shipped})

    async def read_texts(
        self, root: Path, texts: Mapping[Path, str], shipped: Mapping[str, str]
    ) -> LoadedProfile:
        """As `read`, of texts that are not, or not yet, what is on the disk. Raises
        ProfileInvalid."""

        def read_given(path: Path) -> str:
            if path not in texts:
                raise FileNotFoundError(errno.ENOENT, "not part of this profile", str(path))
            return texts[path]

        environment = {**self._environment, **shipped}
        return await asyncio.to_thread(load_profile, root, environment, read_given)

    async def plan(self, path: Path, shipped: Mapping[str, str]) -> Plan:
        """What applying the profile would do now. Raises ProfileInvalid."""
        return await self._reconciler.plan_for(await self.read(path, shipped))

    async def apply(
        self,
        path: Path,
        shipped: Mapping[str, str],
        *,
        watch: bool,
        locked: bool = False,
        base_generation: int | None = None,
        expected: Plan | None = None,
        origin: Origin | None = None,
    ) -> AsyncGenerator[ApplyEvent, None]:
        """Apply the profile and report. Closing it stops the reports, not the work.

        `locked`: only as its lock file pins it, now and whenever it changes while it is watched.
        `expected`: a saved plan, which must be what would be done now.
        Raises before any event: ProfileInvalid, StoreError, LockMismatch (and, when it is locked,
        SourceError), and ProfileSuperseded when `base_generation` is given and another profile has
        been applied since, or when `expected` does not hold any more.
        """
        loaded = await self.read(path, shipped)
        if locked:
            await self._require_locked(loaded)
        self._require_base(base_generation)
        origin = origin or Origin(self._user, "apply")
        self._is_locked = locked
        applying = self._apply(loaded, shipped, origin, watch=watch, expected=expected)
        async with aclosing(applying) as events:
            async for event in events:
                yield event

    async def plan_rollback(self, number: int | None, shipped: Mapping[str, str]) -> RollbackPlan:
        """What going back to generation `number`, or to the last one that converged before this
        one, would do now. Raises GenerationUnknown, ProfileInvalid and StoreError."""
        wanted, loaded = await self._read_generation(number, shipped)
        return RollbackPlan(wanted.number, await self._reconciler.plan_for(loaded))

    async def roll_back(
        self,
        number: int | None,
        shipped: Mapping[str, str],
        *,
        base_generation: int | None = None,
        origin: Origin | None = None,
    ) -> AsyncGenerator[ApplyEvent, None]:
        """Apply again what a generation was, with its variables as they are now, and report.

        The files on the disk stay as they are, and are watched no more. Raises before any event:
        what `plan_rollback` raises, and ProfileSuperseded as `apply` does.
        """
        wanted, loaded = await self._read_generation(number, shipped)
        self._require_base(base_generation)
        origin = origin or Origin(self._user, f"rollback to {wanted.number}")
        async with aclosing(self._apply(loaded, shipped, origin, watch=False)) as events:
            async for event in events:
                yield event

    async def restore(self) -> None:
        """Want again what was last applied, unless it was put to rest. Raises StoreError.

        Its stored text counts, not the file: that may be broken or half edited by now.
        """
        newest = self._generations.newest()
        if newest is None or self._generations.is_resting():
            return
        try:
            loaded = await self._load_stored(newest, {})
        except ProfileInvalid as invalid:
            self._reject(invalid)
            return
        await self._reconciler.resume(loaded, newest.number)

    async def restore_for(self, path: Path, invalid: ProfileInvalid, *, watch: bool) -> bool:
        """Restore what was last applied from `path`, which is `invalid` now; False if never."""
        newest = self._generations.newest()
        if newest is None or Path(newest.root) != path:
            return False
        await self.restore()
        self._reject(invalid)
        self._watch(watch)
        return self._reconciler.loaded is not None

    async def follow(self) -> None:
        """Apply every valid change of the watched profile, until cancelled."""
        await self._start_watching.wait()
        async for _ in watch_files(self._files):
            async with self.editing:
                loaded = self._reconciler.loaded
                if loaded is not None and self.is_watching:
                    await self._look_again(loaded)

    async def _apply(
        self,
        loaded: LoadedProfile,
        shipped: Mapping[str, str],
        origin: Origin,
        *,
        watch: bool,
        expected: Plan | None = None,
    ) -> AsyncGenerator[ApplyEvent, None]:
        async with aclosing(self._reconciler.apply(loaded, origin, expected)) as events:
            async for event in events:
                if isinstance(event, Planned):
                    self._accepted(shipped, watch=watch)
                yield event

    async def _read_generation(
        self, number: int | None, shipped: Mapping[str, str]
    ) -> tuple[Generation, LoadedProfile]:
        wanted = find_previous(self._generations, number, self._reconciler.generation)
        return wanted, await self._load_stored(wanted, shipped)

    async def _load_stored(
        self, generation: Generation, shipped: Mapping[str, str]
    ) -> LoadedProfile:
        texts = {Path(path): text for path, text in generation.texts}
        return await self.read_texts(Path(generation.root), texts, shipped)

    def _require_base(self, base_generation: int | None) -> None:
        if base_generation not in (None, self._reconciler.generation):
            raise ProfileSuperseded(
                f"The plan was made against generation {base_generation}, and "
                f"{self._reconciler.generation} has been applied since.",
                hint="Plan again, and agree to that.",
            )

    def _accepted(self, shipped: Mapping[str, str], *, watch: bool) -> None:
        self._environment.update(shipped)
        self.problem = None
        self._watch(watch)
        self._on_change()

    def _watch(self, watch: bool) -> None:
        self.is_watching = watch
        if watch:
            self._start_watching.set()

    def _files(self) -> frozenset[Path]:
        loaded = self._reconciler.loaded
        return frozenset(source.path for source in loaded.texts) if loaded else frozenset()

    async def _look_again(self, known: LoadedProfile) -> None:
        try:
            loaded = await self.read(known.root, {})
            if loaded.texts != known.texts:
                if self._is_locked:
                    await self._watched_lock.require(loaded)
                await self._reconciler.accept(loaded, Origin(self._user, "watch"))
                log.info("%s changed: generation %d", known.root, self._reconciler.generation)
        except LmrunError as error:
            self._reject(error)
            return
        if self.problem is not None:
            self.problem = None
            self._on_change()

    def _reject(self, error: LmrunError) -> None:
        if str(error) != str(self.problem):
            log.error("%s", describe_problem(error))
            self.problem = error
            self._on_change()


def validate(path: Path, environment: Mapping[str, str]) -> tuple[Problem, ...]:
    """Every problem of the profile at `path`; none when it can be applied."""
    try:
        load_profile(path, environment)
    except ProfileInvalid as invalid:
        return invalid.problems
    return ()


def plan_offline(path: Path, environment: Mapping[str, str], home: Home) -> Plan:
    """What a server that starts now would do with the profile. Raises ProfileInvalid."""
    loaded = load_profile(path, environment)
    desired = read_desired(loaded, Catalog(home))
    if home.measurements.exists():
        desired = Prices(Measurements(home.measurements)).price(desired)
    return replace(make_plan(desired, Observed(), base_generation=0), files=digest_files(loaded))

"""One supervised instance: loaded, restarted after a crash, unloaded. It knows no other one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from lmrun.chat.events import WorkerEvent
from lmrun.chat.messages import Prompt
from lmrun.engines.base import CacheStore, EngineUsage
from lmrun.errors import (
    CrashLoop,
    EngineCrashed,
    EngineError,
    EngineHung,
    EngineMissing,
    LmrunError,
    ModelInvalid,
    ModelNotReady,
    SettingRefused,
)
from lmrun.failpoints import reach
from lmrun.runtime.answers.vectors import Scores, Vectors
from lmrun.runtime.crashes import CrashHistory
from lmrun.runtime.instance import Instance, State
from lmrun.runtime.session import Listeners, WorkerSession
from lmrun.runtime.spec import InstanceSpec
from lmrun.runtime.streams import Input, Streams
from lmrun.runtime.timings import Timings
from lmrun.settings.prediction import PredictionConfig
from lmrun.worker.frames import PromptReport, Rendered, Tokenized

RETRY_LOADING_S = 1
RETRY_FAILED_S = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an instance is given by whoever keeps all of them. `on_change`: its state or its
    progress has changed. `on_activity`: it began or ceased to need CPU cores. `open_cache`: where
    its worker keeps prefixes, if anywhere."""

    timings: Timings
    on_change: Callable[[], None]
    on_activity: Callable[[], None]
    open_cache: Callable[[InstanceSpec], CacheStore | None] = lambda spec: None


class Supervisor:
    """Keeps one instance as it should be. `instance` is what others may read."""

    def __init__(self, spec: InstanceSpec, surroundings: Surroundings) -> None:
        self.instance = Instance(spec)
        self._surroundings = surroundings
        self._timings = surroundings.timings
        self._session: WorkerSession | None = None
        self._life: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._history = CrashHistory()
        self._ready_at = 0.0
        self._is_held = False
        self._is_superseded = False
        self._leases = 0

    @property
    def is_gone(self) -> bool:
        """Whether it is unloaded and nothing is to take its place."""
        return self.instance.state == "stopped" and not self._is_held

    @property
    def is_superseded(self) -> bool:
        """Whether another version has taken its place: requests belong there."""
        return self._is_superseded

    @property
    def is_streaming(self) -> bool:
        """Whether sequences run in the worker."""
        return self._session is not None and len(self._session.streams) > 0

    async def load(self, on_progress: Callable[[float], None]) -> None:
        """Load the model, and supervise it from then on.

        Raises what the worker reports (the instance is `failed` then, and nothing retries), and
        ModelNotReady when it is unloaded meanwhile. Cancelling this unloads it.
        """
        self.instance.restarts = 0
        self._history = CrashHistory()
        self._move_to("loading")
        loaded = self._loaded = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(on_progress, loaded))
        self._life.add_done_callback(self._note_bug)
        try:
            await asyncio.shield(loaded)
        except asyncio.CancelledError:
            # Nobody will ask for it, even if the wait below is cancelled, too.
            loaded.add_done_callback(lambda ended: ended.exception())
            await self.end()
            raise

    async def unload(self) -> None:
        """End the streams and the worker; returns when the process is gone. Repeating it waits."""
        self.release()
        await self.end()

    async def replace(self, spec: InstanceSpec, on_progress: Callable[[float], None]) -> None:
        """Unload, then load `spec`; who waits goes on waiting. Raises what `load` raises."""
        self.hold()
        try:
            await self.end()
            if not self._is_held:
                raise self.not_ready()
        finally:
            self.release()
        self.instance.spec = spec
        await self.load(on_progress)

    @property
    def is_held(self) -> bool:
        """Whether requests wait for it, whatever its state. Unloading it ends that."""
        return self._is_held

    def hold(self) -> None:
        """From now on whoever wants to use it waits, in whatever state it is."""
        self._is_held = True

    def release(self) -> None:
        """Let those who wait see what it is."""
        self._is_held = False
        self._wake_waiters()

    def supersede(self) -> None:
        """Another version has taken its place: nobody need wait for this one any more."""
        self._is_superseded = True
        self._wake_waiters()

    def restore(self) -> None:
        """It is the version in place again."""
        self._is_superseded = False

    async def until_settled(self) -> None:
        """Wait while it is held, loading or restarting, unless it is superseded."""
        while not self._is_superseded and (self._is_held or self.instance.state == "loading"):
            await self._changed.wait()

    @contextlib.contextmanager
    def leased(self, client: str | None = None) -> Iterator[None]:
        """Somebody, called `client`, uses it for as long as the block runs."""
        names = [client] if client is not None else []
        self._leases += 1
        self.instance.clients.update(names)
        try:
            yield
        finally:
            self._leases -= 1
            self.instance.clients.subtract(names)
            if not self._leases:
                self._wake_waiters()

    async def until_unused(self, most_s: float | None) -> None:
        """Wait until nobody uses it, but for `most_s` at most; None: for as long as it takes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while self._leases:
                    await self._changed.wait()

    def generate(
        self,
        prompt: Prompt,
        prediction: PredictionConfig,
        draft_model: str | None = None,
        *,
        reveals_special: bool = False,
        reports_prompt: PromptReport = "nothing",
    ) -> AsyncGenerator[WorkerEvent, None]:
        """Run a sequence; `draft_model`: a file; the rest as in the frame Generate. Raises
        ModelNotReady when no worker can take it now."""
        return self._ready_streams().generate(
            prompt,
            prediction,
            draft_model,
            reveals_special=reveals_special,
            reports_prompt=reports_prompt,
        )

    async def embed(self, inputs: Sequence[Input], dimensions: int | None = None) -> Vectors:
        """A vector of each input. Raises ModelNotReady when no worker can take it now."""
        return await self._ready_streams().embed(inputs, dimensions)

    async def score(self, query: str, documents: Sequence[str]) -> Scores:
        """How well each document fits. Raises ModelNotReady when no worker can take it now."""
        return await self._ready_streams().score(query, documents)

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, with_pieces: bool = False
    ) -> Tokenized:
        """The tokens of a text. Raises ModelNotReady when no worker can take it now."""
        return await self._ready_streams().tokenize(
            text, add_special=add_special, parse_special=parse_special, with_pieces=with_pieces
        )

    async def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of tokens. Raises ModelNotReady when no worker can take it now."""
        return await self._ready_streams().detokenize(tokens)

    async def render(self, prompt: Prompt) -> Rendered:
        """What a prompt is to the model. Raises ModelNotReady when no worker can take it now."""
        return await self._ready_streams().render(prompt)

    def set_threads(self, threads: int) -> None:
        """Grant CPU threads; 0 while it needs none."""
        if threads == self.instance.threads:
            return
        self.instance.threads = threads
        if self._session is not None and threads:
            self._session.set_threads(threads)

    def not_ready(self) -> ModelNotReady:
        """The error for whoever wants to use the instance now, by its state."""
        name = self.instance.spec.identifier
        match self.instance.state:
            case "failed":
                message = f"Model {name!r} failed: {self.instance.error}"
                return ModelNotReady(message, retry_after_s=retry_after_s(self.instance.error))
            case "unloading" | "stopped":
                return ModelNotReady(f"Model {name!r} is being unloaded.")
            case _:
                message = f"Model {name!r} is being loaded."
                return ModelNotReady(message, retry_after_s=RETRY_LOADING_S)

    def _ready_streams(self) -> Streams:
        if self._session is None or self.instance.state != "ready":
            raise self.not_ready()
        return self._session.streams

    async def end(self) -> None:
        """Stop it, in a task of its own: who waits may be cancelled, the end goes on. What holds
        requests back goes on holding them."""
        if self.instance.state == "stopped":
            return
        if self._ending is None:
            self._ending = asyncio.create_task(self._tear_down())
        await asyncio.shield(self._ending)

    async def _tear_down(self) -> None:
        self._move_to("unloading")
        reach("unload.begun")
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})
        if self._session is not None:
            await self._session.stop(self.not_ready)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(self.not_ready())
        self._ending = None
        reach("unload.worker_gone")
        self._move_to("stopped")

    async def _live(
        self, on_progress: Callable[[float], None], loaded: asyncio.Future[None]
    ) -> None:
        try:
            await self._bring_up(on_progress)
        except LmrunError as error:
            self._move_to("failed", error=error)
            loaded.set_exception(error)
            return
        loaded.set_result(None)
        while self.instance.state != "failed":
            delay_s = self._judge(await self._next_death())
            if self._session is not None:
                await self._session.finish()
            await asyncio.sleep(delay_s)

    async def _next_death(self) -> LmrunError:
        """Bring the worker up if it is down, wait for its end; why it ended or did not come up."""
        try:
            if self.instance.state == "loading":
                await self._bring_up(lambda fraction: None)
            assert self._session is not None
            return await self._session.until_death()
        except LmrunError as error:
            return error

    async def _bring_up(self, on_progress: Callable[[float], None]) -> None:
        def note_progress(fraction: float) -> None:
            self.instance.progress = fraction
            on_progress(fraction)
            self._surroundings.on_change()

        listeners = Listeners(note_progress, self._note_step, self._surroundings.on_activity)
        spec = self.instance.spec
        session = WorkerSession(spec, self._timings, listeners, self._surroundings.open_cache(spec))
        self._session = session
        started_at = asyncio.get_running_loop().time()
        info = await session.load(max(1, self.instance.threads))
        self.instance.info = info
        self.instance.pid = session.pid
        self._ready_at = asyncio.get_running_loop().time()
        self.instance.load_s = self._ready_at - started_at
        reach("load.model_loaded")
        self._move_to("ready")

    def _note_step(self, active: int, waiting: int, usage: EngineUsage | None) -> None:
        self.instance.active = active
        self.instance.waiting = waiting
        if usage is not None:
            self.instance.usage = usage

    def _judge(self, error: LmrunError) -> float:
        """Go to `loading`, or to `failed` for good. Seconds until the next start, if any."""
        if not isinstance(error, EngineCrashed | EngineHung):
            self._move_to("failed", error=error)
            return 0.0
        logger.warning("%s: %s", self.instance.spec.identifier, error)
        now = asyncio.get_running_loop().time()
        healthy_s = now - self._ready_at if self.instance.state == "ready" else 0.0
        self._history = self._history.add(now, healthy_s=healthy_s, timings=self._timings)
        if self._history.is_loop(self._timings):
            self._move_to("failed", error=self._describe_loop(error))
            return 0.0
        self.instance.restarts += 1
        if self.instance.state != "loading":
            self._move_to("loading")
        return self._history.delay_s(self._timings)

    def _describe_loop(self, last: EngineError) -> CrashLoop:
        last_line = self._session.last_line if self._session else None
        return CrashLoop(
            f"The worker of model {self.instance.spec.model_key!r} crashed "
            f"{len(self._history.times)} times within {self._timings.crash_window_s:.0f} s, "
            f"at last: {last.message}",
            returncode=last.returncode if isinstance(last, EngineCrashed) else None,
            hint=f"Its last words: {last_line}" if last_line else None,
        )

    def _move_to(self, state: State, *, error: LmrunError | None = None) -> None:
        self.instance.move_to(state, error=error)
        self._wake_waiters()
        self._surroundings.on_activity()
        self._surroundings.on_change()

    def _wake_waiters(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _note_bug(self, life: asyncio.Task[None]) -> None:
        """A supervisor that died would leave an instance that nobody restarts: say so, fail."""
        if life.cancelled() or (bug := life.exception()) is None:
            return
        logger.error("supervision of %s failed", self.instance.spec.identifier, exc_info=bug)
        with contextlib.suppress(AssertionError):
            self._move_to("failed", error=EngineError(f"Supervision failed: {bug!r}."))
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(bug)


def retry_after_s(error: LmrunError | None) -> int | None:
    """When asking a failed model again may help; None when only a change of the profile will."""
    if isinstance(error, ModelInvalid | SettingRefused | EngineMissing):
        return None
    return RETRY_FAILED_S

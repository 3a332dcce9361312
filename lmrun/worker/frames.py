"""The frames between server and worker: length-prefixed msgpack over a socketpair.

Four bytes of big-endian length, then one tagged map. Both sides decode against these types, so a
frame that does not fit is an error where it arrives. Nothing here assumes a shared machine except
the paths in `Load`.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

from lmrun.chat.events import WorkerEvent
from lmrun.chat.messages import Prompt
from lmrun.engines.base import NO_ATTACHMENTS, Attachments, EngineUsage, ModelInfo

MAX_FRAME_BYTES = 16 * 2**20
"""From a worker, which the server trusts by half."""
MAX_BYTES_TO_WORKER = 64 * 2**20
"""The other way: room for all images of a prompt and its text."""
_LENGTH = struct.Struct(">I")


PromptReport = Literal["nothing", "tail", "all"]


class WireError(msgspec.Struct, frozen=True):
    """An error of lmrun's tree: its `code`, and what it carries."""

    code: str
    message: str
    hint: str | None = None
    param: str | None = None


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Load one model; the first frame a worker receives. `config`: a LoadConfig as a map.

    `attachments`: the files that `config` names by their sources. `prewarm`: system prompts to
    compute once the model is there. `prompt_template`: a PromptTemplate as a map, None for the
    model's own.
    """

    engine: str
    path: str
    config: dict[str, Any]
    threads: int
    attachments: Attachments = NO_ATTACHMENTS
    prewarm: tuple[str, ...] = ()
    prompt_template: dict[str, Any] | None = None


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Start a sequence. `prediction`: a PredictionConfig as a map. `draft_model`: the file of the
    model that it names. `reveals_special`: control tokens are text, too. `reports_prompt`: how
    much of the prompt's text its first event gives, a PromptText."""

    id: int
    prompt: Prompt
    prediction: dict[str, Any]
    draft_model: str | None = None
    reveals_special: bool = False
    reports_prompt: PromptReport = "nothing"


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Make a vector of each input, a text or token ids. `dimensions`: how long, if not whole."""

    id: int
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None


class Score(msgspec.Struct, frozen=True, tag="score"):
    """Say how well each document fits the query."""

    id: int
    query: str
    documents: tuple[str, ...]


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize"):
    """Say which tokens a text has. `add_special`: with BOS/EOS where the model wants them.
    `parse_special`: markup becomes its token. `with_pieces`: what each token says, too."""

    id: int
    text: str
    add_special: bool
    parse_special: bool
    with_pieces: bool = False


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """Say which text tokens have, special ones included."""

    id: int
    tokens: tuple[int, ...]


class Render(msgspec.Struct, frozen=True, tag="render"):
    """Say what the model's template makes of a conversation, and how many tokens a prompt has."""

    id: int
    prompt: Prompt


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Drop what has this id, a sequence or anything else. No frame about it follows the next
    Step."""

    id: int


class Threads(msgspec.Struct, frozen=True, tag="threads"):
    """Use at most this many CPU threads from the next step on."""

    count: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Free the model and exit 0."""


class LoadProgress(msgspec.Struct, frozen=True, tag="load_progress"):
    fraction: float


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    info: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The worker exits after it."""

    error: WireError


class SequenceEvents(msgspec.Struct, frozen=True):
    """What one sequence produced in a step: events in order, or the error that ended it."""

    id: int
    events: tuple[WorkerEvent, ...] = ()
    error: WireError | None = None


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The events of all sequences after one step. An empty one is the idle heartbeat.

    `usage`: now and then, what the engine holds. `patience_s`: how long the next one may be in
    coming, at worst; 0 is as usual.
    """

    sequences: tuple[SequenceEvents, ...]
    active: int
    waiting: int
    usage: EngineUsage | None = None
    patience_s: float = 0.0


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """A part of the answer to `Embed` or `Score`, in the inputs' order.

    `values`: float32, little-endian, one vector after the other; of a `Score` one number per
    document. `tokens`: of the inputs in this part. An error comes in a Step instead.
    """

    id: int
    values: bytes
    tokens: int
    is_last: bool


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized"):
    """The answer to `Tokenize`. `pieces`: bytes, perhaps part of a character; none if not asked
    for. An error comes in a Step instead."""

    id: int
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


class Detokenized(msgspec.Struct, frozen=True, tag="detokenized"):
    """The answer to `Detokenize`. An error comes in a Step instead."""

    id: int
    text: bytes


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """The answer to `Render`. `text`: of a conversation; of other prompts, nothing: who asks has
    it. An error comes in a Step instead."""

    id: int
    text: str
    tokens: int


Question = Tokenize | Detokenize | Render
"""Asked of the vocabulary and the template alone: nothing is computed by the model."""
Reply = Tokenized | Detokenized | Rendered

ToWorker = Load | Generate | Embed | Score | Question | Cancel | Threads | Close
FromWorker = LoadProgress | Loaded | LoadFailed | Step | Embedded | Reply

_encoder = msgspec.msgpack.Encoder()


def encode(frame: ToWorker | FromWorker) -> bytes:
    """The frame with its length in front. Raises ValueError when it is over its direction's limit:
    MAX_FRAME_BYTES or MAX_BYTES_TO_WORKER."""
    body = _encoder.encode(frame)
    limit = MAX_FRAME_BYTES if isinstance(frame, FromWorker) else MAX_BYTES_TO_WORKER
    if len(body) > limit:
        raise ValueError(f"a frame of {len(body)} bytes is over the limit of {limit}")
    return _LENGTH.pack(len(body)) + body

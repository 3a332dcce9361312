"""A run's events → a response's output items, calls of servers' tools and questions among them.

Pure; it knows no run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lmrun.api.acting.kit import Kit, Offer
from lmrun.api.responses.answers.bodies import (
    ListedTool,
    McpApprovalRequest,
    McpCall,
    McpCallError,
    McpListTools,
    McpText,
    OutputItem,
)
from lmrun.api.responses.answers.events import (
    McpArgumentsDelta,
    McpArgumentsDone,
    McpCallCompleted,
    McpCallFailed,
    McpCallInProgress,
    McpListCompleted,
    McpListInProgress,
    StreamEvent,
)
from lmrun.api.responses.answers.output import Numbers, Output, Place
from lmrun.api.responses.conversation import Approved
from lmrun.api.responses.requests.mcp import McpTool
from lmrun.chat.events import Event, ToolCallArguments, ToolCallStart
from lmrun.tools.act.events import (
    ActEvent,
    ApprovalNeeded,
    CallFailed,
    CallProgress,
    CallSucceeded,
    RoundStart,
)


@dataclass(slots=True)
class _Call:
    """A call of a server's tool. `place`: once it is an item of the response."""

    label: str
    name: str
    texts: list[str] = field(default_factory=list)
    approval: str | None = None
    place: Place | None = None

    @property
    def arguments(self) -> str:
        return "".join(self.texts)


class ActOutput(Output):
    """`functions`: the client's own, whose calls are items as in every response. `listed`: servers
    whose tools the client has been told of. `answered`: calls that the run begins with."""

    def __init__(
        self,
        numbers: Numbers,
        make_id: Callable[[str], str],
        kit: Kit[McpTool],
        functions: Collection[str],
        listed: Collection[str],
        answered: Sequence[Approved],
    ) -> None:
        super().__init__(numbers, make_id)
        self._kit = kit
        self._functions = functions
        self._listed = listed
        self._calls: dict[int, _Call | None] = {
            index: _Call(
                it.request.server_label, it.request.name, [it.request.arguments], it.request.id
            )
            for index, it in enumerate(answered)
        }

    def start(self) -> list[StreamEvent]:
        """What each server offers, where the conversation does not say so yet."""
        offers: dict[str, list[Offer[McpTool]]] = {}
        for offer in self._kit.offers.values():
            offers.setdefault(offer.source.info.server_label, []).append(offer)
        return [
            event
            for label, tools in offers.items()
            if label not in self._listed
            for event in self._list(label, tools)
        ]

    def take(self, event: Event | ActEvent) -> list[StreamEvent]:
        match event:
            case RoundStart():
                self._calls.clear()
            case ToolCallStart(index, _, name) if name not in self._functions:
                self._calls[index] = _to_call(self._kit.offers.get(name))
                return self._close("completed")
            case ToolCallArguments(index, text) if index in self._calls:
                call = self._calls[index]
                if call is not None:
                    call.texts.append(text)
            case CallProgress(index):
                return self._begin_call(self._calls.get(index))
            case CallSucceeded(index) | CallFailed(index):
                return self._end_call(self._calls.pop(index, None), event)
            case ApprovalNeeded(index) if index in self._calls:
                return self._ask(self._calls[index])
            case _:
                return super().take(event)
        return []

    def _list(self, label: str, offers: Sequence[Offer[McpTool]]) -> list[StreamEvent]:
        place = self._place("mcpl")
        tools = tuple(
            ListedTool(it.own_name, it.tool.spec.description, dict(it.tool.spec.parameters))
            for it in offers
        )
        item = McpListTools(place.id, label, tools)
        return [
            place.added(McpListTools(place.id, label, ())),
            place.inside(McpListInProgress),
            place.inside(McpListCompleted),
            self._finish(place, item),
        ]

    def _begin_call(self, call: _Call | None) -> list[StreamEvent]:
        if call is None or call.place is not None:
            return []
        call.place = place = self._place("mcp")
        item = _to_item(call, place)
        begun = McpCall(item.id, item.server_label, item.name, "", "in_progress")
        return [
            place.added(begun),
            place.inside(McpCallInProgress),
            place.inside(McpArgumentsDelta, delta=call.arguments),
            place.inside(McpArgumentsDone, arguments=call.arguments),
        ]

    def _end_call(
        self, call: _Call | None, result: CallSucceeded | CallFailed
    ) -> list[StreamEvent]:
        if call is None:
            return []
        events = self._begin_call(call)
        assert call.place is not None
        kind = McpCallFailed if isinstance(result, CallFailed) else McpCallCompleted
        item = _to_item(call, call.place, result)
        return [*events, call.place.inside(kind), self._finish(call.place, item)]

    def _ask(self, call: _Call | None) -> list[StreamEvent]:
        """The call is not made; the client is asked."""
        if call is None:
            return []
        place = self._place("mcpr")
        item = McpApprovalRequest(place.id, call.label, call.name, call.arguments)
        return [place.added(item), self._finish(place, item)]

    def _finish(self, place: Place, item: OutputItem) -> StreamEvent:
        self._done[place.output_index] = item
        return place.done(item)


def _to_call(offer: Offer[McpTool] | None) -> _Call | None:
    """A call of a tool that is not there has no server, and is no item."""
    return None if offer is None else _Call(offer.source.info.server_label, offer.own_name)


def _to_item(
    call: _Call, place: Place, result: CallSucceeded | CallFailed | None = None
) -> McpCall:
    is_failed = isinstance(result, CallFailed)
    return McpCall(
        id=place.id,
        server_label=call.label,
        name=call.name,
        arguments=call.arguments,
        status="in_progress" if result is None else "failed" if is_failed else "completed",
        output=None if result is None or is_failed else result.text,
        error=McpCallError((McpText(result.text),)) if isinstance(result, CallFailed) else None,
        approval_request_id=call.approval,
    )


def by_call(answered: Sequence[Approved]) -> Mapping[str, Approved]:
    """By the ids that the calls have in the run."""
    return {it.request.id: it for it in answered}

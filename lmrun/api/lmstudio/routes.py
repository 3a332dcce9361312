"""LM Studio's rows of the route table."""

from __future__ import annotations

from lmrun.api.acting.errors import TOOL_ERRORS
from lmrun.api.errors import JobNotFound
from lmrun.api.lmstudio.greeting import Greeting, greet
from lmrun.api.lmstudio.house import House
from lmrun.api.lmstudio.v0 import models as models_v0
from lmrun.api.lmstudio.v1 import models as models_v1
from lmrun.api.lmstudio.v1.chat import make_chat_handler
from lmrun.api.lmstudio.v1.envelope import ENVELOPE
from lmrun.api.lmstudio.v1.events import StreamEvent
from lmrun.api.lmstudio.v1.manage import (
    DownloadAnswer,
    LoadAnswer,
    UnloadAnswer,
    find_download,
    make_download_handler,
    make_load_handler,
    make_unload_handler,
)
from lmrun.api.lmstudio.v1.output import ChatResult
from lmrun.api.lmstudio.v1.requests import (
    ChatRequestV1,
    DownloadRequest,
    LoadRequest,
    UnloadRequest,
)
from lmrun.api.routes import Response, Route
from lmrun.api.serving import GENERATION_ERRORS, LEASE_ERRORS, STORE_ERRORS
from lmrun.errors import (
    ModelNotFound,
    ModelNotReady,
)

_SSE = "text/event-stream"


def make_lmstudio_routes(house: House) -> tuple[Route, ...]:
    """All of them, answering from `house`."""
    return (_GREETING, *_make_v0_routes(house), *_make_v1_routes(house), *_make_load_routes(house))


_GREETING = Route(
    "GET",
    "/lmstudio-greeting",
    greet,
    "By which LM Studio's SDKs find a server",
    scope=None,
    responses={200: (Response("It is one", Greeting),)},
)


def _make_v0_routes(house: House) -> tuple[Route, ...]:
    return (
        Route(
            "GET",
            "/api/v0/models",
            models_v0.make_list_handler(house),
            "Declared models, loaded or not",
            responses={200: (Response("The list", models_v0.ModelListV0),)},
        ),
        Route(
            "GET",
            "/api/v0/models/{id:path}",
            models_v0.make_get_handler(house),
            "One model, by identifier or key",
            responses={200: (Response("The model", models_v0.ModelV0),)},
            errors=(ModelNotFound,),
        ),
    )


def _make_v1_routes(house: House) -> tuple[Route, ...]:
    return (
        Route(
            "GET",
            "/api/v1/models",
            models_v1.make_list_handler(house),
            "Declared models, each with its loaded instances",
            responses={200: (Response("The list", models_v1.ModelListV1),)},
            envelope=ENVELOPE,
        ),
        Route(
            "POST",
            "/api/v1/chat",
            make_chat_handler(house),
            "One turn of a chat that the server remembers",
            request=ChatRequestV1,
            responses={
                200: (
                    Response("The answer", ChatResult),
                    Response("named events with `stream: true`", StreamEvent, _SSE),
                )
            },
            errors=(*GENERATION_ERRORS, *TOOL_ERRORS, *STORE_ERRORS),
            envelope=ENVELOPE,
        ),
    )


def _make_load_routes(house: House) -> tuple[Route, ...]:
    return (
        Route(
            "POST",
            "/api/v1/models/load",
            make_load_handler(house),
            "Load a declared model",
            scope="models",
            request=LoadRequest,
            responses={200: (Response("The instance", LoadAnswer),)},
            errors=LEASE_ERRORS,
            envelope=ENVELOPE,
        ),
        Route(
            "POST",
            "/api/v1/models/unload",
            make_unload_handler(house),
            "Unload an instance; its streams end",
            scope="models",
            request=UnloadRequest,
            responses={200: (Response("It is gone", UnloadAnswer),)},
            errors=(ModelNotFound, ModelNotReady),
            envelope=ENVELOPE,
        ),
        Route(
            "POST",
            "/api/v1/models/download",
            make_download_handler(house),
            "Whether a declared model's file is here; nothing is fetched over this port",
            scope="models",
            request=DownloadRequest,
            responses={200: (Response("It is", DownloadAnswer),)},
            envelope=ENVELOPE,
        ),
        Route(
            "GET",
            "/api/v1/models/download/status/{job_id}",
            find_download,
            "There are no download jobs yet",
            scope="models",
            errors=(JobNotFound,),
            envelope=ENVELOPE,
        ),
    )

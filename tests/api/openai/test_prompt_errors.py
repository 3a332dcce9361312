"""What an engine says about a prompt names the field that the endpoint has it from."""

from __future__ import annotations

import pytest

from lmrun.errors import ContextOverflow, InvalidParameter, RequestError
from tests.api.conftest import Served
from tests.api.openai.bodies import CHAT, COMPLETION
from tests.support.stand_in_pool import Phase


@pytest.mark.parametrize("phase", ["prefill", "mid-stream"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "on_chat", "on_completions"),
    [
        (ContextOverflow("long", param="prompt"), "messages", "prompt"),
        (InvalidParameter("empty", param="prompt"), "messages", "prompt"),
        (InvalidParameter("no such token", param="logit_bias"), "logit_bias", "logit_bias"),
        (RequestError("something else"), None, None),
    ],
    ids=["overflow", "empty", "another field", "no field"],
)
def test_a_prompt_is_blamed_by_its_fields_name(
    served: Served,
    phase: Phase,
    stream: bool,
    error: RequestError,
    on_chat: str,
    on_completions: str,
) -> None:
    served.pool.fail_at = phase
    cases = [("chat/completions", CHAT, on_chat), ("completions", COMPLETION, on_completions)]
    for path, body, param in cases:
        served.pool.failure = type(error)(str(error), param=error.param)
        reply = served.port.ask(
            "POST", f"/v1/{path}", {**body, "model": "assistant", "stream": stream}
        )
        # A stream that has begun ends with the error.
        has_begun = reply.status == 200
        assert has_begun == (stream and phase == "mid-stream")
        field = "null" if param is None else f'"{param}"'
        assert f'"param":{field}' in reply.body.decode()

"""The bodies of OpenAI's requests are validated as those of every dialect."""

from lmrun.api.validate import validate_request

__all__ = ["validate_request"]

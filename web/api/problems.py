"""Errors of the API as problem details (RFC 9457)."""

from __future__ import annotations

import math

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bindery.errors import BinderyError, RequestRefused
from web.api.models import Problem

MEDIA_TYPE = "application/problem+json"


def answer(error: BinderyError, status: int | None = None) -> Response:
    """An error as an answer with its status."""
    problem = Problem(
        title=error.message.strip(),
        status=status or error.status,
        code=error.code,
        hint=error.hint,
        retryable=error.retryable,
    )
    after = error.retry_after_seconds
    headers = {} if after is None else {"Retry-After": str(math.ceil(after))}
    return JSONResponse(problem.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)


async def on_error(request: Request, error: Exception) -> Response:
    """The handler of `BinderyError`."""
    assert isinstance(error, BinderyError)
    return answer(error)


async def on_invalid(request: Request, error: Exception) -> Response:
    """The handler of requests that do not follow the description."""
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return answer(RequestRefused(f"The request is not valid: {wrong}", hint="See openapi.json."), 422)

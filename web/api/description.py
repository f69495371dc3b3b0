"""The API's own description (OpenAPI 3.1): what the framework knows, and what it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from web.api.problems import MEDIA_TYPE

_ABOUT = """Builds, logs, plans, sessions and images of this service as records. POST creates, GET only reads.

Errors are problem details (RFC 9457) with a stable code, a hint, and whether trying again may help. Requests for
builds, plans and sessions count against the same limits as launches. The operator sends Authorization: Bearer <token>.
"""

_EVENTS: Mapping[str, Any] = {
    "tags": ["builds"],
    "summary": "Read Events",
    "description": "The log as an event stream, to its one last event: `ready` or `failed`. It goes on after the event "
    "that `Last-Event-ID` names, whether the build runs or has ended long ago.",
    "operationId": "read_events",
    "parameters": [
        {"name": "build_id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}},
    ],
    "responses": {
        "200": {
            "description": "Server-sent events, each with an id and one JSON object.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
}


def describe(app: FastAPI, prefix: str) -> dict[str, Any]:
    """The description of an application whose API is below `prefix`."""
    described = get_openapi(title=app.title, version=app.version, description=_ABOUT.strip(), routes=app.routes)
    paths: dict[str, dict[str, Any]] = described["paths"]
    log = f"{prefix}builds/{{build_id}}/log"
    problems = {code: told for code, told in paths[log]["get"]["responses"].items() if code.endswith("XX")}
    paths[log]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    events = {**_EVENTS, "responses": {**_EVENTS["responses"], **problems}}
    paths[f"{prefix}builds/{{build_id}}/events"] = {"get": events}
    for path in paths.values():
        for operation in path.values():
            _name_problems(operation["responses"])
    return described


def _name_problems(responses: dict[str, Any]) -> None:
    """Errors have a media type of their own."""
    for code, told in responses.items():
        if code.endswith("XX") and "application/json" in told.get("content", {}):
            told["content"] = {MEDIA_TYPE: told["content"]["application/json"]}

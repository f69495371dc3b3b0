"""The API's description as a page: made on the server, without scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from web.api.problems import MEDIA_TYPE
from web.shell import Pages, render

Described = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter, or a property of a record."""

    name: str
    type: str
    schema: str
    required: bool
    about: str


@dataclass(frozen=True)
class Answer:
    """One kind of answer; `schema` names the record in it."""

    status: str
    media_type: str
    type: str
    schema: str


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for."""

    method: str
    path: str
    about: str
    parameters: Sequence[Field]
    body: str
    answers: Sequence[Answer]
    example: str


def router(pages: Pages, prefix: str, described: Callable[[], Described]) -> APIRouter:
    """The page's route, beside the description."""

    async def show(request: Request) -> Response:
        api = described()
        schemas = api["components"]["schemas"]
        return render(
            pages,
            request,
            "api.html",
            api=api,
            address=f"{prefix}openapi.json",
            groups=operations(api, pages.public(request).removesuffix(pages.base_url)),
            records={name: (each.get("description", ""), fields(each)) for name, each in sorted(schemas.items())},
        )

    routes = APIRouter()
    routes.add_route(f"{prefix}docs", show, methods=["GET"])
    return routes


def operations(api: Described, origin: str) -> dict[str, list[Operation]]:
    """All operations by their tag. `origin` is what examples begin with."""
    found: dict[str, list[Operation]] = {}
    for path, methods in api["paths"].items():
        for method, told in methods.items():
            found.setdefault(told["tags"][0], []).append(_operation(method.upper(), path, told, api, origin))
    return found


def fields(schema: Described) -> list[Field]:
    """The properties of a record."""
    required = schema.get("required", ())
    return [
        Field(name, *_type(told), name in required, told.get("description", ""))
        for name, told in schema.get("properties", {}).items()
    ]


def _operation(method: str, path: str, told: Described, api: Described, origin: str) -> Operation:
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    parameters = [
        Field(each["name"], *_type(each["schema"]), each["required"], each.get("description", ""))
        for each in told.get("parameters", ())
    ]
    answers = [
        Answer(status, media_type, *_type(content.get("schema", {})))
        for status, answer in sorted(told["responses"].items())
        for media_type, content in answer.get("content", {}).items()
        if media_type != MEDIA_TYPE
    ]
    example = _example(method, origin + path, body, api)
    return Operation(method, path, told.get("description", ""), parameters, _type(body)[1], answers, example)


def _example(method: str, address: str, body: Described, api: Described) -> str:
    command = "curl" if method == "GET" else f"curl --request {method}"
    if not body:
        return f"{command} '{address}'"
    properties = api["components"]["schemas"][_type(body)[1]]["properties"]
    data = {name: told["examples"][0] for name, told in properties.items() if "examples" in told}
    return f"{command} '{address}' --json '{json.dumps(data)}'"


def _type(schema: Described) -> tuple[str, str]:
    """A schema in words, and the record that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name, name
    if "anyOf" in schema:
        words = [_type(each) for each in schema["anyOf"]]
        return " or ".join(word for word, _ in words), next((name for _, name in words if name), "")
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"])), ""
    if schema.get("type") == "array":
        word, name = _type(schema.get("items", {}))
        return f"list of {word}", name
    return str(schema.get("type", "anything")), ""

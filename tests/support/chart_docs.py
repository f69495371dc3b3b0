"""The parts of the chart that are written from the code: the schema of its settings, and its README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bindery.settings import Settings

CHART = Path(__file__).parents[2] / "helm" / "bindery"
_SKIPPED = {"global"}


def schema() -> str:
    """The values' schema, with every setting as the program itself checks it."""
    values: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    settings = Settings.model_json_schema()
    described = values["properties"]["settings"]["description"]
    values["properties"]["settings"] = {
        "type": "object",
        "description": described,
        "additionalProperties": False,
        "properties": settings["properties"],
    }
    values["$defs"] = settings["$defs"]
    return json.dumps(_plain(values), indent=2) + "\n"


def _plain(node: Any) -> Any:
    """Without what only people read twice, and with infinities left out: JSON has none."""
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key not in ("default", "writeOnly")}
        return {key: _plain(value) for key, value in kept.items() if not (key == "title" and "type" not in node)}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def table() -> str:
    """Every value: its path, its default, and what it means."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())["properties"]
    lines = ["| value | default | meaning |", "|---|---|---|"]
    lines += [f"| `{path}` | {_written(default)} | {text} |" for path, default, text in _rows(known, values, "")]
    return "\n".join(lines) + "\n"


def _rows(known: dict[str, Any], values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, described in known.items():
        if prefix + name in _SKIPPED:
            continue
        if prefix + name != "settings" and described.get("properties"):
            yield from _rows(described["properties"], values[name], f"{prefix}{name}.")
        else:
            yield prefix + name, values[name], described["description"]


def _written(default: Any) -> str:
    return "" if default == "" else f"`{json.dumps(default) if not isinstance(default, str) else default}`"

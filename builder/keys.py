"""The environment key: equal for two commits exactly when they may share an environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from builder.plan import Install, Kind, PlanContext

KEY_LENGTH = 32


def environment_key(
    context: PlanContext,
    *,
    kind: Kind,
    python: str,
    installs: tuple[Install, ...],
    apt: tuple[str, ...],
    contents: Mapping[str, str],
    tree: str | None,
) -> str:
    """Hash of all that an environment depends on; `tree` is the tree's object id where it needs the whole tree."""
    parts = {
        "builder": context.builder_version,
        "runtime": context.runtime,
        "kind": kind,
        "python": python,
        "installs": [asdict(step) for step in installs],
        "apt": apt,
        "contents": dict(contents),
        "tree": tree,
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

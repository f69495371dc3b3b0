"""What a build's Job is told to do, and where it finds what belongs to that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bindery.settings import BuildBackEnd

#: Where the Job's Secret is mounted: the order, a Docker config.json with the login, and the secrets of steps.
FOLDER = Path("/run/bindery")
ORDER = "order.json"
LOGINS = "config.json"
AUTHORITIES = "authorities.pem"
SECRET_PREFIX = "secret-"  # noqa: S105
#: In the context's archive: the Dockerfile, and the folder that is its context.
DOCKERFILE = "recipe/Dockerfile"
CONTEXT = "context"


@dataclass(frozen=True)
class Order:
    """One build.

    `context` is the reference of the archive, `target` what is pushed, `reads` are files of the image to tell of.
    `cache` names a repository of the registry for layers of earlier builds; "" uses none. `address` is where a
    BuildKit daemon or a Docker Engine listens. `relay` is the host by which the Job reaches the registry of its images,
    whose names begin with `location`; "" is the registry itself.
    """

    context: str
    target: str
    back_end: BuildBackEnd = BuildBackEnd.BUILDAH
    address: str = ""
    reads: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    plain_http: tuple[str, ...] = ()
    cache: str = ""
    headings: bool = False
    timeout_seconds: float = 3600.0
    relay: str = ""
    location: str = ""

    def reached(self, name: str) -> str:
        """The name by which the Job reaches an image of that registry."""
        return f"{self.relay}/{name.partition('/')[2]}" if self.relay else name

    def to_json(self) -> str:
        """The order as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["back_end"] = BuildBackEnd(fields["back_end"])
        for name in ("reads", "plain_http"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

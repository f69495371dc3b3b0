"""Bringing images from a registry into the engine."""

from __future__ import annotations

import base64
import json
from typing import Any

from bindery.docker_api import DockerApi, EngineRefused
from bindery.errors import InvalidImageReference, SessionFailed
from registry.credentials import Credential, CredentialSource
from registry.names import Reference


class Images:
    """The images of one engine."""

    def __init__(self, api: DockerApi, credentials: CredentialSource, *, pull_seconds: float) -> None:
        self._api = api
        self._credentials = credentials
        self._seconds = pull_seconds

    async def find(self, reference: str) -> dict[str, Any]:
        """What the engine knows of an image; one that only its registry has is pulled. Raises `SessionFailed`."""
        found = await self._look(reference)
        if found is None and await self._pull(reference):
            found = await self._look(reference)
        if found is None:
            raise SessionFailed(f"The image {reference} is not here any more.", hint="Launch again to build it anew.")
        return found

    async def _look(self, reference: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._api.ask("GET", f"/images/{reference}/json")
        except EngineRefused as refused:
            if refused.status not in (400, 404):
                raise
            return None
        return found

    async def _pull(self, text: str) -> bool:
        """Whether the image could be pulled. A name without a registry's host is nowhere else."""
        try:
            reference = Reference.parse(text)
        except InvalidImageReference:
            return False
        login = await self._credentials.find(reference.repository)
        headers = {"X-Registry-Auth": _authorization(reference.repository.host, login)}
        query = {"fromImage": str(reference.repository), "tag": reference.identifier}
        try:
            async for said in self._api.lines("/images/create", query=query, headers=headers, seconds=self._seconds):
                if "error" in said:
                    raise EngineRefused(500, str(said["error"]))
        except EngineRefused as refused:
            if refused.status == 404 or "not found" in refused.message or "manifest unknown" in refused.message:
                return False
            raise SessionFailed(
                "The image could not be brought from its registry.", hint=refused.message[:300]
            ) from refused
        return True


def _authorization(host: str, login: Credential | None) -> str:
    """The login as the engine wants it."""
    fields = {"serveraddress": host}
    if login is not None and login.identity_token is not None:
        fields["identitytoken"] = login.identity_token.get_secret_value()
    elif login is not None:
        fields |= {"username": login.username, "password": login.password.get_secret_value()}
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

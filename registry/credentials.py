"""Logins for registries, from Docker's own configuration and its credential helpers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from bindery.errors import RegistryRefused, ToolMissing
from bindery.process import Finished, ProcessTimeout, run
from registry.names import DOCKER_HUB, Repository

HELPER_SECONDS = 30.0
_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_HUB_KEY = "https://index.docker.io/v1/"
_NONE = SecretStr("")
_TOKEN_USER = "<token>"  # noqa: S105
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Credential:
    """A login. With an `identity_token` there is no password: it is exchanged for tokens."""

    username: str
    password: SecretStr = _NONE
    identity_token: SecretStr | None = None

    def basic(self) -> str:
        """The value of a Basic `Authorization` header."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


class CredentialSource(Protocol):
    """Who knows logins."""

    async def find(self, repository: Repository) -> Credential | None:
        """The login for a repository, if there is one."""


class DockerConfig:
    """The logins of a Docker `config.json`.

    - The file is read anew each time: logins that an operator or a cluster renews are used at once.
    - The most exact entry wins: `host/team/name` before `host/team` before `host`.
    - A helper runs within a time limit, and its answer reaches no log and no message.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, timeout_seconds: float = HELPER_SECONDS) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._timeout = timeout_seconds

    @property
    def path(self) -> Path:
        """The file: in `$DOCKER_CONFIG`, else in `~/.docker`."""
        folder = self._environ.get("DOCKER_CONFIG")
        home = self._environ.get("HOME") or "~"
        return (Path(folder) if folder else Path(home).expanduser() / ".docker") / "config.json"

    async def find(self, repository: Repository) -> Credential | None:
        """The login for a repository, if there is one.

        Raises `RegistryRefused` when the file or a helper's answer cannot be read, `ToolMissing` without the helper.
        """
        config = await asyncio.to_thread(self._read)
        keys = _keys(repository)
        helper = _longest(_mapping(config, "credHelpers"), keys)
        if helper is None and isinstance(config.get("credsStore"), str) and config["credsStore"]:
            helper = (config["credsStore"], keys[-1])
        if helper is not None:
            found = await self._ask(str(helper[0]), helper[1])
            if found is not None:
                return found
        entry = _longest(_mapping(config, "auths"), keys)
        return None if entry is None else _from_entry(entry[0], entry[1])

    def _read(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.read(_MAX_CONFIG_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unreadable() from error
        if not isinstance(found, dict):
            raise self._unreadable()
        return found

    def _unreadable(self) -> RegistryRefused:
        return RegistryRefused(
            f"The registry logins in {self.path} cannot be read.", hint="The file must be readable, and valid JSON."
        )

    async def _ask(self, helper: str, key: str) -> Credential | None:
        """What a credential helper knows."""
        if not _HELPER.fullmatch(helper):
            raise self._unreadable()
        program = f"docker-credential-{helper}"
        server = _HUB_KEY if key == DOCKER_HUB else key
        try:
            done = await run(
                [program, "get"], env=self._environ, timeout_seconds=self._timeout, input_bytes=server.encode()
            )
        except FileNotFoundError:
            raise ToolMissing(
                f"Docker's config.json names the credential helper {program}, which is not installed.",
                hint=f"Install {program}, or take it out of {self.path}.",
            ) from None
        except (ProcessTimeout, OSError) as error:
            raise RegistryRefused(f"The credential helper {program} did not answer: {error}") from None
        return _from_helper(program, done)


def _keys(repository: Repository) -> list[str]:
    """The keys under which a login may stand, the most exact first."""
    parts = str(repository).split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _normal(key: str) -> str:
    """A key without protocol and the paths of old protocols."""
    bare = re.sub(r"/v[12]$", "", re.sub(r"^https?://", "", key).rstrip("/"))
    return DOCKER_HUB if bare in ("index.docker.io", "registry-1.docker.io") else bare


def _longest(entries: Mapping[str, Any], keys: list[str]) -> tuple[Any, str] | None:
    """The most exact of the entries that are not empty, and the key it stands for."""
    known = {_normal(key): value for key, value in entries.items() if value}
    return next(((known[key], key) for key in keys if key in known), None)


def _mapping(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _from_entry(entry: Any, key: str) -> Credential | None:
    """The login of one entry of `auths`."""
    fields = {name: value for name, value in entry.items() if isinstance(value, str)} if isinstance(entry, dict) else {}
    username, password = fields.get("username", ""), fields.get("password", "")
    if fields.get("auth"):
        try:
            pair = base64.b64decode(fields["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise RegistryRefused(f"The login for {key} in Docker's config.json is not base64.") from None
        username, _, password = pair.rstrip("\0").partition(":")
    token = SecretStr(fields["identitytoken"]) if fields.get("identitytoken") else None
    if token is None and not username:
        return None
    return Credential(username, SecretStr(password), token)


def _from_helper(program: str, done: Finished) -> Credential | None:
    """The login in a helper's answer; a helper that knows none says so and fails."""
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").lower()
        if "credentials not found" in said or "no credentials" in said:
            return None
        raise RegistryRefused(f"The credential helper {program} failed with exit code {done.returncode}.")
    try:
        answer = json.loads(done.stdout)
        username, secret = answer["Username"], SecretStr(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise RegistryRefused(f"The credential helper {program} gave no login.") from None
    if username == _TOKEN_USER:
        return Credential("", identity_token=secret)
    return Credential(str(username), secret)

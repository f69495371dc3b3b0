"""Answering `WWW-Authenticate`: Basic logins, and Bearer tokens cached by what they allow."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr
from yarl import URL

from bindery.errors import RegistryBroken, RegistryBusy, RegistryRefused, RegistryUnreachable
from registry.credentials import Credential, CredentialSource
from registry.names import Repository
from registry.wire import Body, Passing, Wire, read_limited

#: Seconds before its end in which a token is used no more.
_MARGIN_SECONDS = 10.0
_LEAST_SECONDS = 60.0
_MAX_TOKEN_BYTES = 256 * 1024
_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)')
_SCHEME = re.compile(r"[\s,]*([A-Za-z0-9-]+)(?:\s+(?=[A-Za-z0-9_-]+\s*=)|\s*(?=,|$))")


@dataclass(frozen=True)
class Challenge:
    """One way to log in that a registry offers; `scheme` is in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of `WWW-Authenticate` headers; what cannot be read is left out."""
    found = []
    for header in headers:
        position = 0
        while match := _SCHEME.match(header, position):
            parameters, position = {}, match.end()
            while parameter := _PARAMETER.match(header, position):
                quoted, plain = parameter[2], parameter[3]
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters[parameter[1].lower()] = value
                position = parameter.end()
            found.append(Challenge(match[1].lower(), parameters))
            if position >= len(header):
                break
    return found


def scope(repository: Repository, actions: str) -> str:
    """What a token is to allow: `pull`, `pull,push` or `delete` in a repository."""
    return f"repository:{repository.path}:{actions}"


def _ordered(text: str) -> str:
    """A scope with its actions in the order in which `scope` is asked for."""
    resource, colon, actions = text.rpartition(":")
    return f"{resource}{colon}{','.join(sorted(actions.split(',')))}"


@dataclass(frozen=True)
class _Token:
    value: SecretStr
    ends_at: float

    @property
    def header(self) -> str:
        return f"Bearer {self.value.get_secret_value()}"


@dataclass
class _Door:
    """A host's way to log in, and the tokens it has given, by what they allow."""

    challenge: Challenge
    tokens: dict[frozenset[str], _Token] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Authenticator:
    """Makes `Authorization` headers.

    - Tokens are kept for as long as the registry says, by what they allow; a refused one is made anew, once.
    - A login goes to the registry, or to the token server that it names, only over HTTPS or on loopback.
    """

    def __init__(self, wire: Wire, credentials: CredentialSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._wire = wire
        self._credentials = credentials
        self._clock = clock
        self._doors: dict[str, _Door] = {}

    async def header(self, repository: Repository, scopes: frozenset[str]) -> str | None:
        """The header for a request, from what earlier answers asked for; None when nothing did."""
        door = self._doors.get(repository.host)
        return None if door is None else await self._header(door, repository, scopes, scopes)

    async def _header(
        self, door: _Door, repository: Repository, scopes: frozenset[str], wanted: frozenset[str]
    ) -> str | None:
        """The header for `scopes`; a new token is one for all that is `wanted`."""
        if door.challenge.scheme == "basic":
            credential = await self._credentials.find(repository)
            return credential.basic() if credential else None
        async with door.lock:
            token = door.tokens.get(scopes)
            if token is None or token.ends_at <= self._clock():
                token = door.tokens[scopes] = await self._fetch(repository, door.challenge, wanted)
        return token.header

    async def renew(
        self, repository: Repository, scopes: frozenset[str], challenges: Sequence[Challenge], refused: str | None
    ) -> str:
        """The header for another attempt after 401, `refused` being the one that was sent.

        Raises `RegistryRefused` when there is none, or the same login was refused.
        """
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        challenge = by_scheme.get("bearer") or by_scheme.get("basic")
        if challenge is None:
            raise RegistryRefused(f"The registry {repository.host} asks for a login of a kind that is not known here.")
        asked = frozenset(map(_ordered, challenge.parameters.get("scope", "").split()))
        door = self._door(repository.host, challenge)
        token = door.tokens.get(scopes)
        if token is not None and token.header == refused:
            del door.tokens[scopes]
        header = await self._header(door, repository, scopes, scopes | asked)
        if header is None or (header == refused and challenge.scheme == "basic"):
            known = "The login for" if header else "There is no login for"
            ending = "is refused" if header else "and it asks for one"
            raise RegistryRefused(f"{known} the registry {repository.host} {ending}.")
        return header

    def _door(self, host: str, challenge: Challenge) -> _Door:
        """The host's door; a new one when it asks for logins in another way than before."""
        lasting = {name: value for name, value in challenge.parameters.items() if name in ("realm", "service")}
        known, offered = self._doors.get(host), Challenge(challenge.scheme, lasting)
        if known is None or known.challenge != offered:
            known = self._doors[host] = _Door(offered)
        return known

    async def _fetch(self, repository: Repository, challenge: Challenge, scopes: frozenset[str]) -> _Token:
        """A token from the server that the challenge names; without a login, what everybody may have."""
        realm = self._realm(repository, challenge)
        credential = await self._credentials.find(repository)
        parameters = [("service", challenge.parameters["service"])] if "service" in challenge.parameters else []
        if credential is not None and credential.identity_token is not None:
            answer = await self._post(realm, parameters, scopes, credential.identity_token)
        else:
            answer = await self._get(realm, parameters, scopes, credential)
        value = answer.get("token") or answer.get("access_token")
        seconds = answer.get("expires_in")
        if not isinstance(value, str) or re.search(r"[\s\x00-\x1f\x7f]", value):
            raise RegistryBroken(f"The token server {realm.host} gave no token.")
        lasting = float(seconds) if isinstance(seconds, int | float) else _LEAST_SECONDS
        return _Token(SecretStr(value), self._clock() + lasting - min(_MARGIN_SECONDS, lasting / 2))

    def _realm(self, repository: Repository, challenge: Challenge) -> URL:
        try:
            return self._wire.check(URL(challenge.parameters["realm"]))
        except (KeyError, ValueError):
            raise RegistryBroken(f"The registry {repository.host} names no token server.") from None

    async def _get(
        self, realm: URL, parameters: list[tuple[str, str]], scopes: frozenset[str], credential: Credential | None
    ) -> dict[str, Any]:
        query = [*parameters, *(("scope", item) for item in sorted(scopes))]
        if credential is not None:
            query.append(("account", credential.username))
        headers = {} if credential is None else {"Authorization": credential.basic()}
        return await self._ask("GET", realm.extend_query(query), headers, None)

    async def _post(
        self, realm: URL, parameters: list[tuple[str, str]], scopes: frozenset[str], token: SecretStr
    ) -> dict[str, Any]:
        form = [
            *parameters,
            ("grant_type", "refresh_token"),
            ("client_id", "bindery"),
            ("scope", " ".join(sorted(scopes))),
            ("refresh_token", token.get_secret_value()),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", realm, headers, Body.of(urlencode(form).encode()))

    async def _ask(self, method: str, url: URL, headers: dict[str, str], body: Body | None) -> dict[str, Any]:
        async with self._wire.exchange(method, url, headers=headers, body=body) as response:
            if response.status == 429:
                raise Passing(RegistryBusy(f"The token server {url.host} gets too many requests."))
            if response.status >= 500:
                raise Passing(RegistryUnreachable(f"The token server {url.host} fails with {response.status}."))
            if response.status != 200:
                raise RegistryRefused(f"The token server {url.host} refuses the login with {response.status}.")
            text = await read_limited(response, _MAX_TOKEN_BYTES)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RegistryBroken(f"The token server {url.host} gave no token.")
        return answer

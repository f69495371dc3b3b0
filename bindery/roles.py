"""Roles: which part of a service a process is, and whether it can be that part alone."""

from __future__ import annotations

from bindery.errors import RoleRefused
from bindery.settings import EngineName, Role, Settings


def works(role: Role) -> bool:
    """Whether it builds, and starts and ends sessions."""
    return role in (Role.ALL, Role.WORKER)


def shows(role: Role) -> bool:
    """Whether it has pages, streams and the API."""
    return role in (Role.ALL, Role.WEB)


def carries(role: Role) -> bool:
    """Whether it carries visitors to their sessions."""
    return role is not Role.WORKER


def check(settings: Settings) -> None:
    """Raise `RoleRefused` when the settings do not let a process be a part alone."""
    secret = settings.build_token.secret.get_secret_value()
    if settings.kubernetes.build.relay_address and not secret:
        raise RoleRefused(
            "The permits of builds need a key that outlasts a process.", hint="Set BINDERY_BUILD_TOKEN__SECRET."
        )
    if settings.role is Role.ALL:
        return
    if not settings.database.url.get_secret_value():
        raise RoleRefused(
            "Processes that share their work need a database that they share.", hint="Set BINDERY_DATABASE__URL."
        )
    if settings.engine is EngineName.PROCESS:
        raise RoleRefused(
            "The process engine builds and runs everything in one process.",
            hint="Use --role all, or the docker or kubernetes engine.",
        )
    if settings.role is Role.WEB and not secret:
        raise RoleRefused(
            "Replicas need one key for the tokens of launch pages.", hint="Set BINDERY_BUILD_TOKEN__SECRET."
        )

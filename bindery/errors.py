"""The one family of errors that may be shown to people.

An error's class fixes its stable `code`; `message` says what happened, `hint` how to mend it. Anything that is
not a `BinderyError` is an internal error: people see an id, the log has the traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class BinderyError(Exception):
    """Something went wrong that a person can be told about."""

    code: ClassVar[str] = "error"
    #: HTTP status of a page or API answer that carries this error.
    status: ClassVar[int] = 500
    #: Whether the same request may succeed later without any change.
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""
    #: After how many seconds it makes sense to try again, where that is known.
    retry_after_seconds: float | None = None

    def __init__(self, message: str, *, hint: str | None = None, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        #: What could have been meant instead, the nearest first.
        self.suggestions = tuple(suggestions)
        self.hint = self.default_hint if hint is None else hint


class InternalError(BinderyError):
    """Bindery itself failed; the id leads to the traceback in the log."""

    code = "internal_error"
    retryable = True
    default_hint = "Try again; if it happens again, give the operator the id."


# --- what a visitor asked for -------------------------------------------------------------------------------


class InvalidSpec(BinderyError):
    """The spec does not follow its provider's grammar."""

    code = "invalid_spec"
    status = 400


class UnknownProvider(BinderyError):
    """No provider is registered under the link's prefix."""

    code = "unknown_provider"
    status = 404


class HostRefused(BinderyError):
    """The repository's host or protocol is not one this service may contact."""

    code = "host_refused"
    status = 403


class RefNotFound(BinderyError):
    """The repository answered, but has no such branch, tag or commit."""

    code = "ref_not_found"
    status = 404


class RepositoryNotFound(BinderyError):
    """The repository does not exist, or is private."""

    code = "repository_not_found"
    status = 404
    default_hint = "Double check the URL, and that the repository is public."


class AuthenticationRequired(BinderyError):
    """The repository's host asks for a login."""

    code = "authentication_required"
    status = 404
    default_hint = (
        "Only public repositories can be launched here. Double check the URL, and that the repository is public."
    )


class RepositoryEmpty(BinderyError):
    """The repository has no commit yet."""

    code = "repository_empty"
    status = 404
    default_hint = "Push a commit first."


class HostUnreachable(BinderyError):
    """The repository's host did not answer as a Git server should."""

    code = "host_unreachable"
    status = 502
    retryable = True
    default_hint = "Try again in a moment; if it stays so, check the repository's host."


class HostBusy(HostUnreachable):
    """The repository's host answers no more requests of this service for a while."""

    code = "host_busy"
    status = 503
    default_hint = "Try again later; an operator can give the service an access token, where the host takes one."


class InvalidArchive(BinderyError):
    """The repository's archive cannot be unpacked: it is broken, encrypted, or would harm."""

    code = "invalid_archive"
    status = 422
    default_hint = "Unpack the archive yourself to see what is wrong; publish a plain zip or tar archive."


class RepositoryTooLarge(BinderyError):
    """The repository is over this service's size limit."""

    code = "repository_too_large"
    status = 413


class PathRefused(BinderyError):
    """The path to open would lead out of the session."""

    code = "path_refused"
    status = 400
    default_hint = "Give a path inside the repository, such as notebooks/analysis.ipynb."


class RequestRefused(BinderyError):
    """The request asks for something that this service does not offer, or not in this form."""

    code = "request_refused"
    status = 400


class MethodRefused(BinderyError):
    """The address exists, and is not asked in this way."""

    code = "method_refused"
    status = 405


class FormatNotOffered(BinderyError):
    """The answer is wanted in a form that this service does not speak."""

    code = "format_not_offered"
    status = 501


class RateLimitExceeded(BinderyError):
    """One address asked for more launches than this service allows in a while."""

    code = "rate_limit_exceeded"
    status = 429
    retryable = True
    default_hint = "Wait, or open the repository's page in a browser: its own launches are not counted."


class NetworkBanned(BinderyError):
    """The operator serves nothing to the network that the request came from."""

    code = "network_banned"
    status = 403
    default_hint = "Ask the operator of this service, or use another network."


class SpecNotAllowed(BinderyError):
    """The operator lets nobody launch this repository here."""

    code = "spec_not_allowed"
    status = 403
    default_hint = "The operator of this service chooses which repositories may be launched."


class InvalidBuildToken(BinderyError):
    """The token is not of the page that it should be of, or too old."""

    code = "invalid_build_token"
    status = 403
    retryable = True
    default_hint = "Load the page again."


class NotFound(BinderyError):
    """There is nothing of this id."""

    code = "not_found"
    status = 404
    default_hint = "Check the id; what was removed is not kept."


class NotAllowed(BinderyError):
    """The request needs rights that it does not show."""

    code = "not_allowed"
    status = 403
    default_hint = "Send the operator's token: Authorization: Bearer <token>."


# --- what the repository asks for ---------------------------------------------------------------------------


class InvalidDependencyFile(BinderyError):
    """A dependency file cannot be read."""

    code = "invalid_dependency_file"
    status = 422


class ConflictingFiles(BinderyError):
    """The repository's files contradict each other."""

    code = "conflicting_files"
    status = 422


class PythonUnavailable(BinderyError):
    """The Python version that the repository asks for is not to be had here."""

    code = "python_unavailable"
    status = 422


class EngineCannotServe(BinderyError):
    """The repository needs something that this engine cannot provide."""

    code = "engine_cannot_serve"
    status = 422


class Unsatisfiable(BinderyError):
    """The requirements contradict each other, or name something that does not exist."""

    code = "unsatisfiable_requirements"
    status = 422


class InstallFailed(BinderyError):
    """Installing the dependencies failed."""

    code = "install_failed"
    status = 422
    default_hint = "The log shows the installer's own words."


class PostBuildFailed(BinderyError):
    """The repository's postBuild ended with an error."""

    code = "post_build_failed"
    status = 422
    default_hint = "Run postBuild in a fresh checkout to see why; the log shows its output."


# --- the machine and the service ----------------------------------------------------------------------------


class BuildCancelled(BinderyError):
    """Somebody cancelled the build."""

    code = "build_cancelled"
    status = 409
    retryable = True
    default_hint = "Launch again to start a new build."


class BuildTimedOut(BinderyError):
    """The build took longer than this service allows."""

    code = "build_timed_out"
    status = 504


class BuildOutOfMemory(BinderyError):
    """The build needed more memory than this service gives one."""

    code = "build_out_of_memory"
    status = 422
    default_hint = "Install less at a time, or wheels instead of sources; the operator can give builds more memory."


class BuildInterrupted(BinderyError):
    """The service stopped during the build, and too many attempts did not finish."""

    code = "build_interrupted"
    status = 503
    retryable = True
    default_hint = "Launch again; if it happens again, tell the operator."


class ToolMissing(BinderyError):
    """A program that Bindery needs is not installed, or too old."""

    code = "tool_missing"
    status = 503
    default_hint = "The operator can run: bindery doctor"


class EngineUnavailable(BinderyError):
    """The engine that builds images and runs sessions does not answer."""

    code = "engine_unavailable"
    status = 503
    retryable = True
    default_hint = "Try again in a few minutes. The operator can run: bindery doctor"


class ClusterRefused(BinderyError):
    """The cluster's API answered with an error."""

    code = "cluster_refused"
    status = 502
    default_hint = "The operator has to look at the service's role, and at what the cluster allows."

    def __init__(self, message: str, *, answer: int, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        #: The API's HTTP status.
        self.answer = answer
        #: The API's own word for it, such as AlreadyExists.
        self.reason = reason


class DatabaseUnavailable(BinderyError):
    """The database does not answer, or has no connection left."""

    code = "database_unavailable"
    status = 503
    retryable = True
    retry_after_seconds = 5.0
    default_hint = "Try again in a moment; nothing that was begun is lost."


class DatabaseRefused(BinderyError):
    """The service cannot use the database as it is configured."""

    code = "database_refused"
    status = 503
    default_hint = "Check BINDERY_DATABASE__URL."


class RoleRefused(BinderyError):
    """A process cannot be the part of a service that it is told to be."""

    code = "role_refused"


class SchemaOutdated(BinderyError):
    """The database has not the tables that this version needs."""

    code = "schema_outdated"
    status = 503
    default_hint = "Run: bindery db upgrade"


class DiskFull(BinderyError):
    """There is no space left where Bindery keeps its data."""

    code = "disk_full"
    status = 507
    retryable = True
    default_hint = "The operator has to free space in the data directory."


class SettingRefused(BinderyError):
    """A setting names something that cannot be used."""

    code = "setting_refused"


class PortTaken(BinderyError):
    """Another program listens on the address already."""

    code = "port_taken"


class UnsafeAddress(BinderyError):
    """The engine promises no isolation, so it may not listen on this address."""

    code = "unsafe_address"


class AlreadyRunning(BinderyError):
    """Another Bindery uses the same data directory."""

    code = "already_running"


class SessionFailed(BinderyError):
    """The notebook server ended before it answered, or did not answer in time."""

    code = "session_failed"
    retryable = True


class SessionGone(BinderyError):
    """The session has ended."""

    code = "session_gone"
    status = 424


class SessionUnavailable(BinderyError):
    """The session runs, and its server does not answer."""

    code = "session_unavailable"
    status = 503
    retryable = True
    default_hint = "Try again in a few seconds."


class QuotaReached(BinderyError):
    """The service runs as many sessions as it may."""

    code = "quota_reached"
    status = 503
    retryable = True
    default_hint = "Try again in a few minutes."


class RepositoryQuotaReached(QuotaReached):
    """The repository has as many sessions as it may."""

    code = "repository_quota_reached"


class UnderMaintenance(BinderyError):
    """The operator lets nobody launch anything new for now; what runs goes on."""

    code = "under_maintenance"
    status = 503
    retryable = True
    default_hint = "Try again later. Sessions that run already are not affected."
    retry_after_seconds = 300.0


# --- images and their registry ------------------------------------------------------------------------------


class InvalidImageReference(BinderyError):
    """An image's name, tag or digest does not follow the grammar of registries."""

    code = "invalid_image_reference"
    status = 400
    default_hint = "Write host/path/name:tag, such as registry.example.org/team/image:1."


class ImageNotFound(BinderyError):
    """The registry has no such image, or none for this kind of processor."""

    code = "image_not_found"
    status = 404


class LayerRefused(BinderyError):
    """A file cannot be stored in an image."""

    code = "layer_refused"
    status = 422


class RegistryUnreachable(BinderyError):
    """The registry does not answer, or fails."""

    code = "registry_unreachable"
    status = 503
    retryable = True
    default_hint = "Try again in a few minutes; the operator can look at the registry's own log."


class RegistryBusy(BinderyError):
    """The registry says that it gets too many requests."""

    code = "registry_busy"
    status = 503
    retryable = True
    default_hint = "Try again in a few minutes."


class RegistryRefused(BinderyError):
    """The registry refuses the login, or the login may not do this."""

    code = "registry_refused"
    status = 502
    default_hint = "The operator has to give a login that may do this, with: docker login"


class RegistryFull(BinderyError):
    """The registry has no space left, or its quota is used up."""

    code = "registry_full"
    status = 507
    retryable = True
    default_hint = "The operator has to free space in the registry."


class RegistryBroken(BinderyError):
    """The registry's answer is not what the protocol promises, such as content with another digest."""

    code = "registry_broken"
    status = 502
    default_hint = "The operator should check that the registry, and what stands in front of it, speaks OCI."

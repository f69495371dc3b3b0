"""Every setting, declared once: name, default, unit and meaning.

Environment variables are `BINDERY_` + the path of names joined by `__`; the command line and the documentation are
generated from what stands here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bindery.origins import Origins

MIB = 1024 * 1024
#: A source of a content security policy: a site, all below one, or any.
_SITE = r"^(\*|(https?://)?(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:(\d{1,5}|\*))?)$"


class EngineName(StrEnum):
    PROCESS = "process"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"
    AUTO = "auto"


def checked_pattern(pattern: str) -> str:
    """The pattern; raises `ValueError` unless it is a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


class Role(StrEnum):
    ALL = "all"
    WEB = "web"
    WORKER = "worker"
    PROXY = "proxy"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GitHubSettings(_Section):
    url: str = Field("https://github.com", description="Base URL of GitHub, or of a GitHub Enterprise server.")


class GitSettings(_Section):
    allowed_protocols: tuple[str, ...] = Field(
        ("https", "http"), description="Protocols that a git link may name (JSON list)."
    )


class GistSettings(_Section):
    url: str = Field("https://gist.github.com", description="Base URL of GitHub's gists.")
    api_url: str = Field("https://api.github.com", description="Base URL of the API that knows which gists are secret.")
    token: SecretStr = Field(SecretStr(""), description="Access token for that API, which raises its rate limit.")
    allow_secret: bool = Field(False, description="Launch secret gists too, and do without the API.")


class GitLabSettings(_Section):
    url: str = Field("https://gitlab.com", description="Base URL of GitLab, or of a GitLab server of one's own.")


class BitbucketSettings(_Section):
    url: str = Field("https://bitbucket.org", description="Base URL of Bitbucket.")


class CodebergSettings(_Section):
    url: str = Field("https://codeberg.org", description="Base URL of Codeberg, or of any Gitea or Forgejo server.")


class HuggingFaceSettings(_Section):
    url: str = Field("https://huggingface.co", description="Base URL of Hugging Face.")


class ZenodoSettings(_Section):
    url: str = Field("https://zenodo.org", description="Base URL of Zenodo.")


class InvenioSettings(_Section):
    url: str = Field("", description="Base URL of the InvenioRDM server that links with a bare record id mean.")


class FigshareSettings(_Section):
    api_url: str = Field("https://api.figshare.com/v2", description="Base URL of Figshare's API.")


class HydroShareSettings(_Section):
    url: str = Field("https://www.hydroshare.org", description="Base URL of HydroShare.")


class OsfSettings(_Section):
    url: str = Field("https://osf.io", description="Base URL of the Open Science Framework.")
    api_url: str = Field("https://api.osf.io/v2", description="Base URL of its API.")
    files_url: str = Field("https://files.osf.io/v1", description="Base URL of its file server.")


class SoftwareHeritageSettings(_Section):
    url: str = Field("https://archive.softwareheritage.org", description="Base URL of the Software Heritage archive.")
    token: SecretStr = Field(SecretStr(""), description="Access token for its API, which raises its rate limit.")


class ProviderSettings(_Section):
    gh: GitHubSettings = Field(default_factory=GitHubSettings, description="GitHub.")
    gist: GistSettings = Field(default_factory=GistSettings, description="GitHub's gists.")
    git: GitSettings = Field(default_factory=GitSettings, description="Any Git server.")
    gl: GitLabSettings = Field(default_factory=GitLabSettings, description="GitLab.")
    zenodo: ZenodoSettings = Field(default_factory=ZenodoSettings, description="Zenodo.")
    figshare: FigshareSettings = Field(default_factory=FigshareSettings, description="Figshare.")
    hydroshare: HydroShareSettings = Field(default_factory=HydroShareSettings, description="HydroShare.")
    bitbucket: BitbucketSettings = Field(default_factory=BitbucketSettings, description="Bitbucket.")
    codeberg: CodebergSettings = Field(default_factory=CodebergSettings, description="Codeberg, Gitea, Forgejo.")
    hf: HuggingFaceSettings = Field(default_factory=HuggingFaceSettings, description="Hugging Face.")
    swh: SoftwareHeritageSettings = Field(default_factory=SoftwareHeritageSettings, description="Software Heritage.")
    osf: OsfSettings = Field(default_factory=OsfSettings, description="Open Science Framework.")
    invenio: InvenioSettings = Field(default_factory=InvenioSettings, description="Any InvenioRDM server.")
    doi_url: str = Field("https://doi.org", description="Base URL of the resolver of DOIs.")
    disabled: tuple[str, ...] = Field((), description="Ids of providers that are not offered (JSON list).")
    resolution_ttl_seconds: float = Field(
        60.0, ge=0, description="How long, in seconds, a branch or tag is taken to point to the same commit."
    )
    resolve_timeout_seconds: float = Field(
        20.0,
        gt=0,
        description="How long, in seconds, a repository's host may take to answer which commit a ref is.",
    )


class FetchSettings(_Section):
    max_bytes: int = Field(
        2048 * MIB,
        gt=0,
        description="Largest repository, in bytes: of the download, and again of the files of one commit.",
    )
    max_files: int = Field(200_000, gt=0, description="Most files that one commit may have.")
    timeout_seconds: float = Field(600.0, gt=0, description="How long, in seconds, fetching may take.")


class BuildSettings(_Section):
    concurrency: int = Field(2, gt=0, description="How many builds run at the same time.")
    timeout_seconds: float = Field(3600.0, gt=0, description="How long, in seconds, one build may take.")
    max_attempts: int = Field(3, gt=0, description="How often a build is begun again after the service was killed.")
    lease_seconds: float = Field(
        30.0, gt=0, description="After how many seconds without a sign a worker counts as dead."
    )
    allow_missing_apt: bool = Field(
        False,
        description="Process engine: go on without the packages of apt.txt instead of refusing the repository.",
    )
    default_python: str = Field(
        "",
        description='Python version such as "3.12" for repositories that ask for none; empty: the engine\'s own.',
    )
    sandbox: bool = Field(True, description="Process engine: use bubblewrap where it is there and works.")
    os_image: str = Field(
        "docker.io/library/buildpack-deps:24.04",
        description="Docker engine: the Debian or Ubuntu image that all images begin with.",
    )
    content_folder: str = Field(
        "/home/jovyan",
        pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$",
        description="Docker engine: the folder of the repository's files in images; by default the home folder.",
    )
    ca_bundle: Path | None = Field(
        None, description="File of further certificate authorities (PEM) that builds trust; it is in no image."
    )
    index_url: SecretStr = Field(
        SecretStr(""),
        description="Package index that builds install from instead of PyPI. A login in it is in no image, and "
        "postBuild does not see it; packages that are built from source do.",
    )


class SessionSettings(_Section):
    idle_seconds: float = Field(1800.0, gt=0, description="A session without activity for so many seconds is stopped.")
    max_age_seconds: float = Field(
        21600.0, gt=0, description="A session is stopped after so many seconds, whatever it does."
    )
    unopened_seconds: float = Field(
        300.0, gt=0, description="A session that nobody ever opened is stopped after so many seconds."
    )
    start_timeout_seconds: float = Field(60.0, gt=0, description="How long, in seconds, a server may take to answer.")
    starts_at_once: int = Field(
        16, gt=0, description="How many servers are asked for at the same time; others wait for their turn."
    )
    max_total: int = Field(100, ge=0, description="Most sessions at the same time; 0: no limit.")
    check_seconds: float = Field(5.0, gt=0, description="How often, in seconds, sessions are looked after.")
    host: str = Field(
        "",
        pattern=r"^(\{name\}(\.[a-z0-9-]+)+(:[0-9]+)?)?$",
        description="Host of each session's own, such as {name}.sessions.example.org, so that its pages are no other "
        "session's; a wildcard leads there. Empty: all share the service's.",
    )
    memory_bytes: int = Field(2048 * MIB, ge=64 * MIB, description="Containers: memory of one session, in bytes.")
    cpus: float = Field(2.0, gt=0, description="Containers: processors of one session; fractions are allowed.")
    max_processes: int = Field(512, ge=32, description="Containers: most processes and threads of one session.")
    shared_memory_bytes: int = Field(
        256 * MIB, ge=MIB, description="Containers: size of /dev/shm, in bytes; what is in it counts as memory."
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="Containers: variables of all sessions, such as HTTPS_PROXY; visitors can read them (JSON object).",
    )


class DockerSettings(_Section):
    host: str = Field(
        "", description="Docker engine: its address, unix:///path or tcp://host:port; empty: DOCKER_HOST, or the usual."
    )
    network: str = Field(
        "bindery0",
        min_length=1,
        description="Docker engine: network of the sessions, and its interface; made when it is missing.",
    )
    publish_ports: bool = Field(
        False,
        description="Docker engine: reach sessions by ports on loopback, as rootless Docker and Docker Desktop need.",
    )
    pull_timeout_seconds: float = Field(
        600.0, gt=0, description="How long, in seconds, bringing an image from its registry may take."
    )


class PodSettings(_Section):
    service_account: str = Field("", description="Service account of the pods, whose token they never get.")
    runtime_class: str = Field("", description="RuntimeClass of the pods, such as gvisor.")
    priority_class: str = Field("", description="PriorityClass of the pods.")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes that the pods may run on (JSON object)."
    )
    affinity: dict[str, Any] = Field(default_factory=dict, description="Affinity of the pods (JSON object).")
    tolerations: tuple[dict[str, Any], ...] = Field((), description="Taints that the pods tolerate (JSON list).")
    image_pull_secrets: tuple[str, ...] = Field(
        (), description="Secrets of the namespace that nodes pull the pods' images with (JSON list of names)."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Further labels of the pods (JSON object).")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of the pods (JSON object).")
    patch: dict[str, Any] = Field(
        default_factory=dict,
        description="What is merged into the pods at the end: objects by key, lists of named things by name, other "
        "values replaced, null removes (JSON object with metadata and spec).",
    )


class BuildBackEnd(StrEnum):
    BUILDAH = "buildah"
    BUILDKIT = "buildkit"
    DOCKER = "docker"


class BuildPodSettings(PodSettings):
    image: str = Field("", description="Image of the builds' Jobs, made of helm/images/builder.")
    back_end: BuildBackEnd = Field(
        BuildBackEnd.BUILDAH, description="What carries out Dockerfiles in a Job: buildah, buildkit or docker."
    )
    address: str = Field(
        "",
        description="Where BuildKit (tcp://host:port) or Docker (unix:///var/run/docker.sock, of the node) listens.",
    )
    as_root: bool = Field(
        False, description="Buildah: run as root with the usual capabilities, for nodes without user namespaces."
    )
    memory_bytes: int = Field(4096 * MIB, ge=128 * MIB, description="Memory that one build may use, in bytes.")
    memory_request_bytes: int = Field(
        1024 * MIB, ge=0, description="Memory that a node keeps free for each build, in bytes; at most its limit."
    )
    cpus: float = Field(2.0, gt=0, description="Processors that one build may use; fractions are allowed.")
    cpu_request: float = Field(
        0.5, ge=0, description="Processors that a node keeps free for each build; at most its limit."
    )
    storage_bytes: int = Field(
        20 * 1024 * MIB, ge=256 * MIB, description="Disk of its node that one build may use, in bytes."
    )
    cache_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9_./-]*)?$",
        description="Buildah: folder of each build's node that keeps layers for later builds; empty: each begins anew.",
    )
    keep_seconds: int = Field(
        600, ge=0, description="How long, in seconds, the cluster keeps a Job that has ended and that nobody removed."
    )
    relay_address: str = Field(
        "",
        pattern=r"^([A-Za-z0-9.-]+:[0-9]{1,5})?$",
        description="Buildah: host:port by which builds reach this service's workers, which pass on to the registry "
        "what each build may do, so that its login stays with them; needs build_token.secret. Empty: builds get the "
        "login.",
    )
    relay_host: str = Field("0.0.0.0", description="Address that workers listen on for that.")  # noqa: S104
    relay_port: int = Field(8586, gt=0, le=65535, description="Port that workers listen on for that.")


class KubernetesSettings(_Section):
    namespace: str = Field("", description="Namespace of builds and sessions; empty: the one of the login.")
    kubeconfig: Path | None = Field(
        None, description="File with the cluster's address and login; empty: the pod's own, else KUBECONFIG."
    )
    context: str = Field("", description="Context of that file; empty: its current one.")
    instance: str = Field(
        "bindery",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$",
        description="Tells what belongs to this service from what belongs to others in the same namespace.",
    )
    request_timeout_seconds: float = Field(
        30.0, gt=0, description="How long, in seconds, the cluster's API may take for one answer."
    )
    schedule_timeout_seconds: float = Field(
        300.0, gt=0, description="How long, in seconds, a session may wait for a node with room for it."
    )
    pull_timeout_seconds: float = Field(
        600.0, gt=0, description="How long, in seconds, a node may take to bring a pod's image and begin."
    )
    memory_request_bytes: int = Field(
        512 * MIB, ge=0, description="Memory that a node keeps free for each session, in bytes; at most its limit."
    )
    cpu_request: float = Field(
        0.1, ge=0, description="Processors that a node keeps free for each session; at most its limit."
    )
    session: PodSettings = Field(default_factory=PodSettings, description="Pods of sessions.")
    build: BuildPodSettings = Field(default_factory=BuildPodSettings, description="Jobs of builds.")


class RegistrySettings(_Section):
    url: str = Field(
        "",
        description="Docker engine: registry that keeps the images, host[:port][/prefix]; empty: its own store.",
    )
    binderhub_prefix: str = Field(
        "",
        description="Containers: the image_prefix of a BinderHub, such as registry.example.org/team/bh-: images are "
        "named as it named them, and those that it has made are launched. Such names leave out provider and host.",
    )
    plain_http_hosts: tuple[str, ...] = Field(
        (), description="Registries that speak no https, beside those on loopback (JSON list of host[:port])."
    )
    compression: Literal["gzip", "zstd"] = Field(
        "gzip",
        description="How the layers of repositories' files are compressed. zstd is faster to unpack, and needs the "
        "extra `zstd`, and engines that know it: Docker from version 23 on (20.10 refuses it), and containerd, which "
        "clusters use, from 1.5 on.",
    )


class RateLimitSettings(_Section):
    limit: int = Field(
        0,
        ge=0,
        description="Launches that one address may ask for in a period without opening a page; 0: no limit.",
    )
    period_seconds: float = Field(3600.0, gt=0, description="The period, in seconds.")


class RepositoryRule(_Section):
    """What the repositories may take whose spec matches; what is left out stays as it is."""

    pattern: str = Field(description="Regular expression, matched from the start of a spec; case does not matter.")
    provider: str = Field("", description="Link prefix that the rule is for, such as gh; empty: all.")
    sessions: int | None = Field(None, ge=0, description="Most sessions of one repository at the same time.")
    memory_bytes: int | None = Field(None, ge=64 * MIB, description="Containers: memory of one session, in bytes.")
    cpus: float | None = Field(None, gt=0, description="Containers: processors of one session.")
    idle_seconds: float | None = Field(None, gt=0, description="See session.idle_seconds.")
    max_age_seconds: float | None = Field(None, gt=0, description="See session.max_age_seconds.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return checked_pattern(pattern)


Patterns = dict[str, tuple[Annotated[str, AfterValidator(checked_pattern)], ...]]


class LimitSettings(_Section):
    per_repository: int = Field(0, ge=0, description="Most sessions of one repository at the same time; 0: no limit.")
    repositories: tuple[RepositoryRule, ...] = Field(
        (),
        description="Rules for some repositories (JSON list of objects: pattern and, as wanted, provider, sessions, "
        "memory_bytes, cpus, idle_seconds, max_age_seconds). All that match a spec apply; later ones win.",
    )
    most_waiting: int = Field(
        0, ge=0, description="How many visitors may wait in line for a place when all are taken; 0: they are refused."
    )
    banned: Patterns = Field(
        default_factory=dict,
        description="Specs that nobody may launch (JSON object: link prefix to a list of regular expressions, matched "
        "from the start, case aside). Those of `*` are for all providers and matched with the repository's address.",
    )
    allowed: Patterns = Field(
        default_factory=dict, description="Of the providers named here only these specs may be launched; banned wins."
    )
    banned_networks: dict[str, str] = Field(
        default_factory=dict,
        description="Networks that get nothing but /health and /versions (JSON object: CIDR block to who that is).",
    )
    maintenance: str = Field(
        "",
        description='A sentence for visitors, such as "We are back at 18:00.": nobody but the operator may launch '
        "anything new while it is set.",
    )

    @field_validator("banned_networks")
    @classmethod
    def _are_networks(cls, networks: dict[str, str]) -> dict[str, str]:
        for block in networks:
            ip_network(block)
        return networks


class BuildTokenSettings(_Section):
    secret: SecretStr = Field(
        SecretStr(""),
        description="Key that signs the tokens of launch pages; replicas need the same one; empty: one is made.",
    )
    expires_seconds: float = Field(300.0, gt=0, description="How long, in seconds, a page's token is good for.")
    check_origin: bool = Field(True, description="Accept a page's token only from a page of the same host.")


class DatabaseSettings(_Section):
    url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL database that all replicas share, postgresql://user:password@host/name with libpq's "
        "parameters; empty: SQLite in the data directory.",
    )
    migrate: bool = Field(
        True,
        description="Bring the schema up to date at the start; else refuse to start until `bindery db upgrade` did.",
    )
    pool_size: int = Field(10, ge=1, description="PostgreSQL: most connections of one process.")
    connect_timeout_seconds: int = Field(
        5, ge=2, description="PostgreSQL: how long, in seconds, one try to connect may take."
    )
    wait_seconds: float = Field(
        5.0,
        gt=0,
        description="PostgreSQL: how long, in seconds, a request waits for a database that does not answer, or for a "
        "free connection, before it is refused.",
    )
    statement_timeout_seconds: float = Field(
        30.0,
        ge=0,
        description="PostgreSQL: how long, in seconds, one statement may take; 0: no limit, as connection poolers need "
        "that refuse the parameter.",
    )

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        # Without the text that was given: it has a password in it.
        if url.get_secret_value() and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise PydanticCustomError("database_url", "it must begin with postgresql://")
        return url


class ShutdownSettings(_Section):
    delay_seconds: float = Field(
        0.0,
        ge=0,
        description="How long, in seconds, a process that was asked to stop takes new visitors still, while it says "
        "that it is not ready; what balances the load needs a moment to notice.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="How long, in seconds, requests and WebSockets of sessions may go on after that.",
    )


class RetentionSettings(_Section):
    high_bytes: int = Field(
        50 * 1024 * MIB, ge=0, description="Images are removed, oldest unused first, once they take so many bytes."
    )
    low_bytes: int = Field(
        40 * 1024 * MIB, ge=0, description="How many bytes of images may stay when some are removed."
    )
    check_seconds: float = Field(600.0, gt=0, description="How often, in seconds, a service looks after its images.")
    record_days: float = Field(
        30.0,
        gt=0,
        description="After how many days builds and sessions that have ended are forgotten, with their logs.",
    )
    launch_days: float = Field(
        90.0, ge=7, description="After how many days launches are forgotten that statistics are made of."
    )


class SiteSettings(_Section):
    name: str = Field("Bindery", min_length=1, max_length=40, description="What the pages call this service.")
    logo: Path | None = Field(
        None, description="Picture in the head of all pages, instead of Bindery's own: SVG or PNG."
    )
    banner: str = Field("", description="Message at the top of all pages; Markdown.")
    about: str = Field("", description="What the page about this service says of it; Markdown.")
    contact: str = Field("", description="Whom visitors can ask: an email address, or the address of a page.")


class StatusSettings(_Section):
    success_target: float = Field(
        0.98, ge=0, le=1, description="Which part of the launches should give a server, of those a repository let us."
    )
    launch_target_seconds: float = Field(
        10.0, gt=0, description="In how many seconds 95 of 100 launches of a known image should give a server."
    )
    popular: bool = Field(True, description="Tell which repositories were launched most.")
    hidden_providers: tuple[str, ...] = Field(
        ("git", "gist"), description="Ids of providers whose repositories are not told of (JSON list)."
    )
    badge_lookups_per_minute: int = Field(
        60, ge=0, description="How often in a minute badges may ask repositories' hosts which commit a ref is."
    )


class PreviewSettings(_Section):
    concurrency: int = Field(1, gt=0, description="How many plans are made at the same time, beside the builds.")
    max_waiting: int = Field(50, gt=0, description="Most plans that may be waited for at the same time.")
    timeout_seconds: float = Field(120.0, gt=0, description="How long, in seconds, making one plan may take.")


class Settings(BaseSettings):
    """The settings of one Bindery service."""

    model_config = SettingsConfigDict(
        env_prefix="BINDERY_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8585, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    base_url: str = Field("/", description="Path prefix under which everything is served.")
    data_dir: Path = Field(
        Path("bindery-data"), description="Folder for the database, environments, images and sessions."
    )
    engine: EngineName = Field(
        EngineName.PROCESS,
        description="Where environments are built and sessions run: process, docker, kubernetes, or auto, which is "
        "docker where it answers, else process.",
    )
    role: Role = Field(
        Role.ALL,
        description="What this process does: all; web: pages, streams, API, and traffic; worker: builds, and starting "
        "and ending sessions; proxy: only carries visitors to their sessions. Parts share a PostgreSQL.",
    )
    operator_token: SecretStr = Field(
        SecretStr(""),
        description="Token of the operator's own requests; replicas need the same one; empty: a new one at each start.",
    )
    allow_public_address: bool = Field(
        False, description="Listen on a public address although the process engine promises no isolation."
    )
    allow_private_repository_hosts: bool = Field(
        False,
        description="Let links name repositories on private and loopback addresses, though never link-local ones.",
    )
    frame_ancestors: tuple[Annotated[str, StringConstraints(pattern=_SITE)], ...] = Field(
        (),
        description="Sites that may show launch buttons and sessions in frames, as https://*.example.org (JSON list).",
    )
    cors_allow_origin: Origins = Field(
        (),
        description="Origin of other sites' pages that may call the service, as https://journal.example.org; several "
        "as a JSON list; `*`: any.",
    )
    allow_build_only: bool = Field(
        False, description="Let clients ask with build_only=true for an image without a session."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Networks whose X-Forwarded-* headers are believed (JSON list of CIDR blocks)."
    )
    launch_log: str = Field(
        "",
        description="File to which each launch that succeeds is appended as a JSON line, in the format of Binder's "
        "public archives; `-`: the service's own log; empty: nowhere.",
    )
    log_json: bool = Field(False, description="Write the service's log as JSON lines.")
    providers: ProviderSettings = Field(default_factory=ProviderSettings, description="Where repositories come from.")
    fetch: FetchSettings = Field(default_factory=FetchSettings, description="Bringing a commit here.")
    build: BuildSettings = Field(default_factory=BuildSettings, description="Building images.")
    session: SessionSettings = Field(default_factory=SessionSettings, description="Notebook servers.")
    docker: DockerSettings = Field(default_factory=DockerSettings, description="The docker engine.")
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings, description="The kubernetes engine.")
    registry: RegistrySettings = Field(default_factory=RegistrySettings, description="Where images are kept.")
    rate_limit: RateLimitSettings = Field(default_factory=RateLimitSettings, description="Launches by one address.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="What a public service allows.")
    build_token: BuildTokenSettings = Field(default_factory=BuildTokenSettings, description="Tokens of launch pages.")
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings, description="Stopping a process.")
    retention: RetentionSettings = Field(default_factory=RetentionSettings, description="Keeping images and records.")
    site: SiteSettings = Field(default_factory=SiteSettings, description="How the pages present the service.")
    status: StatusSettings = Field(default_factory=StatusSettings, description="What the service tells of itself.")
    preview: PreviewSettings = Field(default_factory=PreviewSettings, description="Plans without a build.")
    database: DatabaseSettings = Field(default_factory=DatabaseSettings, description="Where the rows are kept.")

"""The command line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from bindery import __version__, interrupts, logs
from bindery.errors import BinderyError
from bindery.interrupts import Interrupted
from bindery.settings import MIB, EngineName, Role, Settings
from bindery.settings_table import unknown
from bindery.terminal import marked

T = TypeVar("T")

app = typer.Typer(
    name="bindery",
    help="Turns a repository reference into a running notebook.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
schema = typer.Typer(no_args_is_help=True, help="The database: its schema.", rich_markup_mode=None)
app.add_typer(schema, name="db")
errors = Console(stderr=True, highlight=False)
#: Nothing is cut off or broken for a program that reads: it has no window.
output = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)


class LinkFormat(StrEnum):
    LINK = "link"
    MARKDOWN = "markdown"
    RST = "rst"
    HTML = "html"
    ASCIIDOC = "asciidoc"


class OpenAs(StrEnum):
    FILE = "file"
    URL = "url"


def _meaning(name: str) -> str:
    return Settings.model_fields[name].description or ""


DataDir = Annotated[Path | None, typer.Option("--data-dir", help=_meaning("data_dir"), envvar="BINDERY_DATA_DIR")]
Ref = Annotated[str, typer.Option("--ref", help="Branch, tag or full commit id.")]
Repository = Annotated[str, typer.Argument(help="URL of a repository, owner/name on GitHub, or a local folder.")]
EngineOption = Annotated[EngineName | None, typer.Option("--engine", help=_meaning("engine"))]
ServiceUrl = Annotated[
    str, typer.Option("--service", help="URL of a running service; else the one of the data directory is used.")
]
MissingApt = Annotated[
    bool, typer.Option("--allow-missing-apt", help="Go on without the system packages that apt.txt asks for.")
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help=_meaning("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_meaning("port"))] = None,
    data_dir: DataDir = None,
    engine: EngineOption = None,
    role: Annotated[Role | None, typer.Option("--role", help=_meaning("role"))] = None,
    allow_missing_apt: MissingApt = False,
    allow_public_address: Annotated[
        bool, typer.Option("--allow-public-address", help=_meaning("allow_public_address"))
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Write more to the log.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write only warnings to the log.")] = False,
) -> None:
    """Run the service until Ctrl-C."""
    # Imported where needed: the other commands, and --help, shall not wait for it.
    from bindery.serving import serve as serving

    settings = _settings(
        host=host,
        port=port,
        data_dir=data_dir,
        engine=engine,
        role=role,
        allow_public_address=allow_public_address or None,
        build={"allow_missing_apt": True} if allow_missing_apt else None,
    )
    least = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logs.configure(as_json=settings.log_json, least=least)
    _run(serving(settings, _greet))


def _greet(url: str, settings: Settings) -> None:
    output.print(f"Bindery {__version__} is at [bold]{url}[/bold] (Ctrl-C stops it)")
    output.print(f"[dim]Engine: {settings.engine.value}. Data: {settings.data_dir.absolute()}[/dim]", soft_wrap=True)
    sys.stdout.flush()


@app.command()
def launch(
    repository: Repository,
    ref: Ref = "",
    path: Annotated[str, typer.Option("--path", help="Notebook or file to open, relative to the repository.")] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the session in a browser.")] = True,
    service: ServiceUrl = "",
    engine: EngineOption = None,
    data_dir: DataDir = None,
    allow_missing_apt: MissingApt = False,
) -> None:
    """Launch a repository. On the running service, or on one started for the purpose."""
    from bindery.launching import Wish
    from bindery.launching import launch as launching

    build = {"allow_missing_apt": True} if allow_missing_apt else None
    wish = Wish(repository, ref, service, _settings(data_dir=data_dir, engine=engine, build=build))
    _run(launching(wish, path, browser, output))


@app.command()
def link(
    address: Annotated[
        str, typer.Argument(help="Address of a repository or of one of its pages, DOI, or owner/name on GitHub.")
    ],
    ref: Ref = "",
    path: Annotated[str, typer.Option("--path", help="What to open at start.")] = "",
    open_as: Annotated[
        OpenAs, typer.Option("--open", help="What --path is: a file, or a URL such as lab.")
    ] = OpenAs.FILE,
    only: Annotated[LinkFormat | None, typer.Option("--format", help="Print only this.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    service: Annotated[
        str, typer.Option("--service", help="URL that links begin with; else the running service's.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Print the launch link and badge of a repository. Paste them into its readme."""
    from bindery.linking import Share
    from bindery.linking import link as linking

    _run(
        linking(
            Share(address, ref, path, open_as, service, _settings(data_dir=data_dir)),
            only or "",
            as_json,
            output,
            errors,
        )
    )


@app.command()
def build(
    repository: Repository,
    ref: Ref = "",
    tag: Annotated[str, typer.Option("--tag", help="Further name for the image, HOST/NAME:TAG (docker engine).")] = "",
    push: Annotated[bool, typer.Option("--push", help="Push the image under that name.")] = False,
    service: ServiceUrl = "",
    engine: EngineOption = None,
    data_dir: DataDir = None,
) -> None:
    """Build a repository's image without launching it."""
    from bindery.launching import Wish
    from bindery.launching import build as building

    _run(building(Wish(repository, ref, service, _settings(data_dir=data_dir, engine=engine)), tag, push, output))


@app.command("export-dockerfile")
def export_dockerfile(
    repository: Repository,
    ref: Ref = "",
    folder: Annotated[
        Path | None, typer.Option("--output", help="The new folder; else NAME-dockerfile in this one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a Dockerfile that makes a repository's image. All it needs is beside it; Bindery is not needed."""
    from bindery.exporting import export

    _run(export(repository, ref, folder, _settings(data_dir=data_dir), output))


@app.command()
def detect(
    repository: Repository,
    ref: Ref = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    engine: EngineOption = None,
    data_dir: DataDir = None,
) -> None:
    """Print what a build would do, without building."""
    from bindery.detecting import detect as detecting

    _run(detecting(repository, ref, as_json, _settings(data_dir=data_dir, engine=engine), output))


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Say what this machine can do, and what it lacks. With each lack comes its cure."""
    from bindery.doctor import examine

    healthy = _run(examine(_settings(data_dir=data_dir), output))
    raise typer.Exit(0 if healthy else 1)


@app.command()
def images(engine: EngineOption = None, data_dir: DataDir = None) -> None:
    """List the images, the last used first. With their sizes, and by how many an environment is shared."""
    from bindery.images import show_images

    _run(show_images(_settings(data_dir=data_dir, engine=engine), output))


@app.command()
def gc(
    high: Annotated[float | None, typer.Option(help="Begin once images take so many GiB; else the setting's.")] = None,
    low: Annotated[float | None, typer.Option(help="Leave at most so many GiB; else the setting's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    engine: EngineOption = None,
    data_dir: DataDir = None,
) -> None:
    """Remove the images that were used longest ago. Never one that runs."""
    from bindery.images import collect

    settings = _settings(data_dir=data_dir, engine=engine)
    given = {"high_bytes": high, "low_bytes": low}
    marks = settings.retention.model_copy(
        update={name: int(size * 1024 * MIB) for name, size in given.items() if size is not None}
    )
    _run(collect(settings, marks, dry_run, output))


@app.command()
def settings() -> None:
    """List every setting, its default and its meaning."""
    from bindery.settings_table import rows

    for row in rows():
        output.print(f"[bold]{row.variable}[/bold]  (default: {marked(row.default)})", soft_wrap=True)
        output.print(f"    {marked(row.description)}", soft_wrap=True)


@schema.command("upgrade")
def upgrade(data_dir: DataDir = None) -> None:
    """Bring the database's schema up to date. Replicas that may not do so themselves need it."""
    from bindery.schema import upgrade_schema

    settings = _settings(data_dir=data_dir)
    logs.configure(as_json=settings.log_json, least=logging.INFO)
    _run(upgrade_schema(settings, output))


@schema.command("check")
def check(data_dir: DataDir = None) -> None:
    """Say whether the database's schema fits this version."""
    from bindery.schema import check_schema

    _run(check_schema(_settings(data_dir=data_dir), output))


#: What programs that we start carry; a command that is typed in a session has them.
_MARKS = {"BINDERY_BUILD", "BINDERY_BUILD_ROOT", "BINDERY_SESSION"}


def _version(wanted: bool) -> None:
    if wanted:
        output.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Who types a command waits for its answer; what it does on the way is for the log of a service.
    logs.configure(as_json=False, least=logging.WARNING)


def _settings(**given: Any) -> Settings:
    for name, meant in unknown(set(os.environ) - _MARKS):
        question = f" Did you mean {meant}?" if meant else ""
        errors.print(f"[yellow]Warning:[/yellow] {name} is no setting.{question}", soft_wrap=True)
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            variable = "BINDERY_" + "__".join(str(part) for part in problem["loc"]).upper()
            errors.print(f"[red]Error:[/red] {variable}: {marked(problem['msg'])}", soft_wrap=True)
        errors.print("[dim]Hint: bindery settings lists them all.[/dim]")
        raise typer.Exit(2) from error


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return interrupts.run(work)
    except BinderyError as error:
        errors.print(f"[red]Error:[/red] {marked(error.message.strip())} [dim]({error.code})[/dim]", soft_wrap=True)
        if error.hint:
            errors.print(f"Hint: {marked(error.hint.strip())}", soft_wrap=True)
        raise typer.Exit(1) from error
    except Interrupted as end:
        # As a shell tells it of a program that a signal ended.
        raise typer.Exit(128 + end.number) from None


def main() -> None:
    """The program's entry."""
    app()

"""How a notebook server is told what to do: its arguments, variables and page settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: Programs that serve notebooks, as Python modules, best first.
SERVERS = ("jupyterlab", "notebook", "jupyter_server")
#: What runs in a page without having been asked for, and calls other sites.
DISABLED_EXTENSIONS = ("@jupyterlab/apputils-extension:announcements",)


def arguments(*, socket: str, base_url: str, work_tree: Path, config: Path, allow_origins: Sequence[str]) -> list[str]:
    """JupyterLab's command line. It holds no secret: everybody on the machine can read it."""
    return _options(
        {
            "ServerApp.sock": socket,
            "ServerApp.sock_mode": "0600",
            "ServerApp.root_dir": str(work_tree),
            "LabApp.user_settings_dir": str(config / "lab" / "user-settings"),
            "LabApp.workspaces_dir": str(config / "lab" / "workspaces"),
        },
        base_url,
        allow_origins,
    )


def networked_arguments(*, port: int, base_url: str, allow_origins: Sequence[str]) -> list[str]:
    """The command line of a server that has an address of its own. It serves the folder it is started in."""
    listening = {"ServerApp.ip": "0.0.0.0", "ServerApp.port": str(port), "ServerApp.port_retries": "0"}  # noqa: S104
    return _options(listening, base_url, allow_origins)


def _options(special: Mapping[str, str], base_url: str, allow_origins: Sequence[str]) -> list[str]:
    flags = {
        **special,
        "ServerApp.base_url": base_url,
        "ServerApp.allow_remote_access": "True",
        "ServerApp.trust_xheaders": "True",
        "ServerApp.allow_root": "True",
        "ServerApp.open_browser": "False",
        "ServerApp.quit_button": "False",
        "ServerApp.terminals_enabled": "True",
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        # The other one asks PyPI, and prepares for that when it starts, which takes a tenth of that time.
        "LabApp.extension_manager": "readonly",
        **_readable_by(allow_origins),
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def _readable_by(origins: Sequence[str]) -> dict[str, str]:
    """Whose pages may use a server: one origin or `*` by name, several as a pattern, whose ends old servers need."""
    if len(origins) > 1:
        return {"ServerApp.allow_origin_pat": f"^(?:{'|'.join(map(re.escape, origins))})$"}
    return {"ServerApp.allow_origin": origins[0]} if origins else {}


def command(python: Path, prefixes: Iterable[Path], flags: Iterable[str]) -> list[str]:
    """The command that starts the best server found in the environments `prefixes`.

    The classic notebook, in old images, knows the options by another name.
    """
    folders = [folder for prefix in prefixes for folder in prefix.glob("lib/python3*/site-packages")]
    installed = (name for name in SERVERS if any((folder / name).is_dir() for folder in folders))
    server = next(installed, SERVERS[0])
    if server != "jupyterlab":
        flags = [flag for flag in flags if not flag.startswith("--LabApp.")]
    if server == "notebook" and any((folder / "notebook" / "notebookapp.py").exists() for folder in folders):
        flags = [flag.replace("--ServerApp.", "--NotebookApp.") for flag in flags]
    return [str(python), "-m", server, *flags]


def under_start_script(script: Path, words: Iterable[str]) -> list[str]:
    """The command that lets a repository's start script run `words`. A shell also runs scripts without a #! line."""
    return ["/bin/sh", "-c", 'exec "$0" "$@"', str(script), *words]


def variables(*, token: str, home: Path, config: Path, runtime: Path, prefixes: Iterable[Path]) -> dict[str, str]:
    """The variables by which a server finds its files; `prefixes` are Python environments, the most special first."""
    shared = [prefix / "share" / "jupyter" for prefix in prefixes]
    return {
        "JUPYTER_TOKEN": token,
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(config / "data"),
        "JUPYTER_CONFIG_PATH": str(home / ".jupyter"),
        "JUPYTER_PATH": joined([*shared, home / ".local" / "share" / "jupyter"]),
    }


def joined_variables(home: Path, prefixes: Iterable[Path]) -> dict[str, str]:
    """What a server needs in addition that runs in an overlay, and is installed in an environment below."""
    prefixes = list(prefixes)
    applications = [prefix / "share" / "jupyter" / "lab" for prefix in prefixes]
    application = next((folder for folder in applications if (folder / "static").is_dir()), applications[-1])
    return {
        "JUPYTERLAB_DIR": str(application),
        "JUPYTER_CONFIG_PATH": joined([home / ".jupyter", *(prefix / "etc" / "jupyter" for prefix in prefixes)]),
    }


def joined(paths: Iterable[Path | str]) -> str:
    """Paths as one variable."""
    return os.pathsep.join(str(path) for path in paths)


def write_page_settings(config: Path) -> None:
    """Switch off, in the server's pages, what calls other sites."""
    folder = config / "labconfig"
    folder.mkdir(parents=True, exist_ok=True)
    disabled = dict.fromkeys(DISABLED_EXTENSIONS, True)
    (folder / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))


def shell() -> str:
    """The shell of this machine's terminals."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def write_terminal_settings(config: Path) -> None:
    """Let terminals run a plain shell: a login shell would look for programs in the system before the environment."""
    settings = {"ServerApp": {"terminado_settings": {"shell_command": [shell()]}}}
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))

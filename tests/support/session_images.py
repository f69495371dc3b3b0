"""Images with real notebook servers, as builders of every kind leave them, in the engine of the tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

import uv

from tests.support.docker import Engine, engine, os_image

BUILD_SECONDS = 900.0
#: Where the images have their environment and the repository.
ENVIRONMENT = "/srv/venv"
HOME = "/home/jovyan"

_PATH = f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin"
_OVERRIDE = "rfc3987-syntax ; sys_platform == 'never'"
_COMMIT = "git -c user.name=A -c user.email=a@example.org commit --quiet --message='The first'"
_IGNORED = "/.cache/ /.config/ /.ipython/ /.jupyter/ /.local/ /.npm/ /.bash_history /.jupyter-server-log.txt"
_CLASSIC = ("notebook<7", "ipykernel", "setuptools<80")


@dataclass(frozen=True)
class SessionImages:
    """References of images, one per way of starting a server."""

    #: JupyterLab, nothing else.
    shared: str
    #: With the entrypoint that images of repo2docker have.
    joined: str
    #: With that entrypoint and a start script.
    scripted: str
    #: Its start script ends with an error.
    broken: str


def make_session_images() -> SessionImages:
    """Build the images, or find them in the engine's cache."""
    return SessionImages(
        shared=build("shared"),
        joined=build("joined", entrypoint=True),
        scripted=build("scripted", entrypoint=True, start='#!/bin/sh\nexport FROM_START=yes\nexec "$@"\n'),
        broken=build("broken", entrypoint=True, start="#!/bin/sh\necho cannot go on\nexit 3\n"),
    )


def make_classic_image() -> str:
    """An image from before JupyterLab, as repo2docker made them: it has nothing but the classic notebook."""
    return build("classic", packages=_CLASSIC, entrypoint=True)


def make_proxied_image() -> str:
    """An image as repo2docker makes them for R: another program is served behind Jupyter's own server."""
    servers = {"rstudio": {"command": ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]}}
    config = f"{ENVIRONMENT}/etc/jupyter/jupyter_server_config.json"
    text = json.dumps({"ServerProxy": {"servers": servers}})
    more = f"RUN mkdir -p {ENVIRONMENT}/etc/jupyter && echo '{text}' > {config}"
    return build("proxied", packages=("jupyterlab", "ipykernel", "jupyter-server-proxy"), entrypoint=True, more=more)


def build(
    name: str,
    *,
    packages: tuple[str, ...] = ("jupyterlab", "ipykernel"),
    entrypoint: bool = False,
    start: str | None = None,
    more: str = "",
) -> str:
    """Build one image; `more` are further lines for its Dockerfile. Its repository has one commit."""
    reference = f"bindery-test-session-{name}:1"
    with tempfile.TemporaryDirectory(prefix="bindery-image-") as draft:
        context = Path(draft)
        shutil.copy(uv.find_uv_bin(), context / "uv")
        for program in ("repo2docker-entrypoint", "python3-login"):
            (context / program).write_bytes(_of_repo2docker(program).read_bytes())
            (context / program).chmod(0o755)
        (context / "repo").mkdir()
        (context / "repo" / "README.md").write_text(f"# {reference}\n")
        if start is not None:
            (context / "repo" / "start").write_text(start)
            (context / "repo" / "start").chmod(0o755)
        (context / "Dockerfile").write_text(_dockerfile(packages, entrypoint, start is not None, more))
        _build(engine(), reference, context)
    return reference


def _of_repo2docker(program: str) -> Path:
    installed = files("jupyter-repo2docker") or ()
    return next(Path(str(file.locate())) for file in installed if file.name == program)


def _build(docker: Engine, reference: str, context: Path) -> None:
    words = [str(docker.client), "build", "--quiet", "--tag", reference, str(context)]
    environment = {**docker.environment, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]


def _dockerfile(packages: tuple[str, ...], entrypoint: bool, start: bool, more: str) -> str:
    quoted = " ".join(f"'{package}'" for package in packages)
    lines = [
        f"FROM {os_image()}",
        "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 git >/dev/null"
        " && useradd --create-home --uid 1000 jovyan",
        f'RUN --mount=type=bind,source=uv,target=/usr/local/bin/uv echo "{_OVERRIDE}" >/tmp/override'
        f" && uv venv --quiet --seed {ENVIRONMENT}"
        f" && uv pip install --quiet --no-cache --compile-bytecode --override /tmp/override"
        f" --python {ENVIRONMENT}/bin/python {quoted} && chown -R jovyan: {ENVIRONMENT}",
        # A login shell of Debian sets PATH anew.
        f"RUN echo 'export PATH={_PATH}' >/etc/profile.d/environment.sh",
        f"ENV PATH={_PATH} REPO_DIR={HOME}",
        "USER jovyan",
        f"WORKDIR {HOME}",
        "COPY --chown=1000:1000 repo/ ./",
        "RUN git init --quiet --initial-branch=main"
        f" && printf '%s\\n' {_IGNORED} .bash_logout .bashrc .profile >.git/info/exclude && git add --all && {_COMMIT}",
        'CMD ["jupyter", "notebook", "--ip", "0.0.0.0"]',
    ]
    if entrypoint:
        lines.append("COPY --chown=0:0 repo2docker-entrypoint python3-login /usr/local/bin/")
        lines.append('ENTRYPOINT ["/usr/local/bin/repo2docker-entrypoint"]')
    if start:
        lines.append(f"ENV R2D_ENTRYPOINT={HOME}/start")
    return "\n".join([*lines, more, ""])

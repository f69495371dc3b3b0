"""Which Python a repository gets: one that is here, or else one that can be brought here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bindery.errors import PythonUnavailable
from bindery.sandbox import no_sandbox
from bindery.settings import Settings
from builder.engines.interpreters import Interpreter, Interpreters
from builder.engines.process import ProcessEngine
from builder.engines.uv import Uv
from builder.planning import plan_for
from registry.directory import DirectoryStore
from tests.support.trees import tree_of


@dataclass
class CountsLooks(Interpreters):
    """Could bring two versions here; counts how often it looks."""

    looks: int = 0

    async def _read_downloads(self) -> None:
        self.looks += 1
        self.downloads = ("3.14", "3.13")


@pytest.fixture
def interpreters() -> CountsLooks:
    own, other = (Interpreter(Path(sys.executable), f"3.{minor}.1", "CPython", Path("/usr")) for minor in (11, 12))
    return CountsLooks(Path("uv"), own, {}, {"3.12": other})


@pytest.fixture
def engine(interpreters: CountsLooks, tmp_path: Path) -> ProcessEngine:
    store, uv = DirectoryStore(tmp_path), Uv(None, tmp_path / "cache" / "uv")
    settings = Settings(data_dir=tmp_path)
    return ProcessEngine(settings, store=store, sandbox=no_sandbox("not needed"), uv=uv, interpreters=interpreters)


@pytest.mark.parametrize(
    ("files", "python", "looks"),
    [
        ({"requirements.txt": "six\n"}, "3.11", 0),
        ({"runtime.txt": "python-3.12"}, "3.12", 0),
        ({"pyproject.toml": "[project]\nname = 'a'\nversion = '1'\nrequires-python = '>=3.12'\n"}, "3.12", 0),
        ({"pyproject.toml": "[project]\nname = 'a'\nversion = '1'\nrequires-python = '>=3.13'\n"}, "3.14", 1),
        ({"runtime.txt": "python-3.13"}, "3.13", 1),
    ],
)
async def test_what_is_here_comes_first(
    engine: ProcessEngine, interpreters: CountsLooks, files: dict[str, str | bytes], python: str, looks: int
) -> None:
    for _ in range(2):
        plan = await plan_for(engine, tree_of(files))
        assert plan.python == python
        engine.check(plan)
    assert interpreters.looks == looks


async def test_what_is_nowhere_is_refused_with_all_there_is(engine: ProcessEngine) -> None:
    plan = await plan_for(engine, tree_of({"runtime.txt": "python-3.7"}))
    with pytest.raises(PythonUnavailable) as caught:
        engine.check(plan)
    assert "3.11, 3.12, 3.14, 3.13" in caught.value.hint

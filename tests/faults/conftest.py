"""One warm process per test process, whose forks run commands with faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.interposed import Interposed, build_library, has_compiler, start


@pytest.fixture(scope="session")
def interposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interposed]:
    """Process that runs commands with faults; tests that use it are skipped where no C compiler is installed."""
    if not has_compiler():
        pytest.skip("needs Linux and a C compiler")
    with start(build_library(tmp_path_factory.mktemp("interpose"))) as process:
        yield process


@pytest.fixture
def root(in_memory: Path) -> Path:
    """Folder of a job; its path is the same in all states of a test, as pages and manifests may hold it."""
    return in_memory / "case"

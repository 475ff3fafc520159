"""One warm process per test process, whose forks run commands with faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.interposed import Interposed, build_library, has_compiler, start


@pytest.fixture(scope="session")
def interposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interposed]:
    """Start a process that runs commands with faults; skip the test where no C compiler is installed."""
    if not has_compiler():
        pytest.skip("needs Linux and a C compiler")
    with start(build_library(tmp_path_factory.mktemp("interpose"))) as process:
        yield process


@pytest.fixture
def root(in_memory: Path) -> Path:
    """Return the folder of a job, the same in all states of a test: pages and manifests may name it."""
    return in_memory / "case"

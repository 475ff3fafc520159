"""A Prefect server for the tests: the user's settings are neither read nor written, and nothing is sent."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  its settings come before Prefect


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a temporary server for the flows of this process; yield its home."""
    from prefect.settings import PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    with temporary_settings({PREFECT_HOME: home}), prefect_test_harness(server_startup_timeout=120):
        yield home


@pytest.fixture
def plain_cells(cells: Path) -> Path:
    """Remove the baselines of [evaluate], the slowest part of the report, from the trained cells example."""
    cells.write_text(re.sub(r"\[evaluate\]\n.*\n", "", cells.read_text()))
    return cells

"""A bundle made by hand, shared by the tests of this folder, and a folder to score with it."""

from pathlib import Path

import pytest

from aepipe.bundle import Bundle
from tests.batch.linear import make_bundle, numbers
from tests.batch.workshop import Workshop


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


@pytest.fixture
def shop(tmp_path: Path, linear: Bundle) -> Workshop:
    return Workshop(tmp_path, linear)

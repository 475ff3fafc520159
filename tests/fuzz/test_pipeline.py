"""Random tables and jobs end in success or in a sentence, never in a traceback."""

import os
from pathlib import Path

import pytest

from tests.fuzz.driver import run_case

CASES = int(os.environ.get("FUZZ_CASES", "12"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
def test_every_command_ends_in_success_or_in_a_sentence(tmp_path: Path, seed: int) -> None:
    defects = [ending for ending in run_case(seed, tmp_path) if ending.is_defect]

    assert not defects, "\n".join(f"{ending.command}: {ending.printed[-2_000:]}" for ending in defects)

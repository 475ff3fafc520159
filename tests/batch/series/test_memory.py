"""Known steps of a series job: the comparisons do not depend on the division into partitions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.series.memory import SeriesMemory
from aepipe.series.nearest import Segment
from tests.support.long_series import MINUTE, START, long_table, read_all, score_all, series_bundle, write_partitions

WINDOW, STEPS = 5, 240


def _values(seed: int) -> NDArray[np.float32]:
    """Draw a noisy wave whose level shifts half way."""
    noise = np.random.default_rng(seed).normal(size=STEPS)
    return (np.sin(np.arange(STEPS) / 3) + 0.1 * noise + 3 * (np.arange(STEPS) > 150)).astype(np.float32)


@pytest.fixture
def table() -> pa.Table:
    return long_table({"a": _values(1), "b": _values(2)})


@pytest.fixture
def bundle(tmp_path: Path, table: pa.Table) -> Bundle:
    """Return a bundle that knows the first 60 steps of `a` and scores 1 per window."""
    known = [Segment.of(START // MINUTE, _values(1)[:60, None])]
    memory = SeriesMemory.fit({"a": known}, {"a": [np.ones(56)]}, window=WINDOW, day=None)
    return replace(series_bundle(tmp_path, table, window=WINDOW), memory=memory)


def _days(table: pa.Table, steps: int) -> list[pa.Table]:
    number = (table["at"].cast(pa.int64()).to_numpy() - START) // MINUTE // steps
    return [table.filter(pa.array(number == day)) for day in range(int(number.max()) + 1)]


def _scores(bundle: Bundle, folder: Path, parts: list[pa.Table]) -> pa.Table:
    partitions = write_partitions(folder / "rows", parts)
    score_all(bundle, partitions, folder / "out")
    return read_all(partitions, folder / "out").sort_by([("machine", "ascending"), ("at", "ascending")])


@pytest.mark.parametrize("steps", [20, 90])
def test_settled_scores_do_not_depend_on_partitions(
    tmp_path: Path, bundle: Bundle, table: pa.Table, steps: int
) -> None:
    whole = _scores(bundle, tmp_path / "whole", [table])
    days = _scores(bundle, tmp_path / "days", _days(table, steps))

    settled = pc.equal(days["windows"], WINDOW)

    assert pc.sum(settled).as_py() > STEPS
    found, expected = (scores.filter(settled)["score"].to_numpy() for scores in (days, whole))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_memory_changes_the_scores_and_grows(tmp_path: Path, bundle: Bundle, table: pa.Table) -> None:
    alone = _scores(replace(bundle, memory=None), tmp_path / "alone", [table])
    together = _scores(bundle, tmp_path / "together", [table])

    assert not together["score"].equals(alone["score"])
    shifted = together.filter(pc.equal(together["machine"], "a"))["score"].to_numpy()[150:]
    assert shifted[:20].mean() > 1.5 * shifted[-20:].mean(), "the new level is known after a while"


def test_a_change_in_the_history_alone_scores_nothing_again(tmp_path: Path, bundle: Bundle, table: pa.Table) -> None:
    days = _days(table, 20)
    partitions = write_partitions(tmp_path / "rows", days)
    score_all(bundle, partitions, tmp_path / "out")

    write_partitions(tmp_path / "rows", [days[0].slice(1), *days[1:]])
    again = score_all(bundle, partitions, tmp_path / "out")

    assert [result.status for result in again[:2]] == ["written", "written"]
    assert {result.status for result in again[2:]} == {"already done"}

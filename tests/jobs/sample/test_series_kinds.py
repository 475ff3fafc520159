"""Synthetic series of tables whose times, entities or channels are unusual."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import ArgumentInvalid
from aepipe.jobs.sample.series_set import sample_series
from aepipe.jobs.train.train import train

STEPS = 600
HOUR_US = 3_600_000_000
FIRST_US = 1_767_225_600_000_000  # 2026-01-01
pytestmark = pytest.mark.slow


def _train(
    folder: Path, columns: Mapping[str, object], *, time: str | None = "at", series: str = "", more: str = ""
) -> Path:
    (folder / "rows").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "rows" / "part-0.parquet")
    job = folder / "job.toml"
    named = "" if time is None else f'event_time = "{time}"\n'
    job.write_text(
        f'name = "kinds"\n[data]\npath = "rows"\n{named}[series]\nwindow = 24\n{series}\n[model]\nfamily = "pca"\n'
    )
    train(job)
    return job


def _wave(seed: int = 0) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(STEPS) / 24) + 0.1 * np.random.default_rng(seed).normal(size=STEPS)


def _drawn(job: Path, **given: object) -> pa.Table:
    return pq.ParquetFile(sample_series(job, seed=1, **given).path).read()  # type: ignore[arg-type]


TIMES = {
    "zone": (pa.array(FIRST_US + HOUR_US * np.arange(STEPS), pa.timestamp("us", "Europe/Berlin")), "2026-03-02T00:00"),
    "dates": (pa.array(np.arange(20_000, 20_000 + STEPS), pa.int32()).cast(pa.date32()), "2027-01-01"),
    "integers": (pa.array(7 + 10 * np.arange(STEPS)), "9007"),
    "seconds": (pa.array(FIRST_US / 1e6 + 3600.0 * np.arange(STEPS)), "2026-03-02"),
    "text": (
        pa.array(
            [f"{each}" for each in np.datetime64("2026-01-01T00", "s") + np.arange(STEPS) * np.timedelta64(3600, "s")]
        ),
        "2026-03-02",
    ),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_have_the_type_and_the_step_of_the_source(tmp_path: Path, kind: str) -> None:
    times, start = TIMES[kind]
    job = _train(tmp_path, {"at": times, "load": _wave()})

    after, later = _drawn(job, length=48), _drawn(job, length=48, start=start, name="later")

    assert after.schema.field("at").type == times.type
    known, found = (pa.concat_arrays([times.slice(STEPS - 2)]), after["at"].combine_chunks())
    both = pa.concat_arrays([known, found])
    texts = [str(each) for each in both.to_pylist()]
    if kind == "text":
        texts = [str(np.datetime64(each)) for each in texts]
        moments = np.array(texts, "datetime64[s]").astype(np.int64)
    elif kind == "dates":
        moments = both.cast(pa.int32()).to_numpy()
    elif kind == "zone":
        moments = both.cast(pa.int64()).to_numpy()
    else:
        moments = both.to_numpy()
    assert len(np.unique(np.diff(moments))) == 1, moments[:5]  # the first step follows the last row of training
    if kind == "integers":
        assert later["at"][0].as_py() == 9007
    elif kind == "seconds":
        assert later["at"][0].as_py() == 1_772_409_600.0
    else:
        assert str(later["at"][0].as_py()).startswith(start[:10])
    if kind == "zone":
        assert later["at"][0].as_py().isoformat() == "2026-03-02T00:00:00+01:00"


def test_a_start_that_is_not_a_time_of_the_column_is_refused(tmp_path: Path) -> None:
    job = _train(tmp_path, {"at": TIMES["integers"][0], "load": _wave()})

    with pytest.raises(ArgumentInvalid, match="expected a whole number, as the event time is one, got '2026-01-01'"):
        sample_series(job, length=10, start="2026-01-01")
    with pytest.raises(ArgumentInvalid, match="expected a number of steps, since steps are no time, got '7d'"):
        sample_series(job, length="7d")


def test_rows_without_a_time_are_drawn_in_order(tmp_path: Path) -> None:
    job = _train(tmp_path, {"load": _wave(), "heat": _wave(1)}, time=None)

    drawn = _drawn(job, length=2_000)

    assert drawn.column_names == ["load", "heat", "seed", "model_version"]
    assert np.corrcoef(drawn["load"].to_numpy()[:-24], drawn["load"].to_numpy()[24:])[0, 1] > 0.9
    with pytest.raises(ArgumentInvalid, match="the rows have no event time: leave it out"):
        sample_series(job, length=10, start="2026-01-01", name="other")


def test_irregular_times_have_the_gaps_of_the_training(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).choice([1, 2, 60], STEPS) * 60_000_000
    times = FIRST_US + np.cumsum(gaps)
    job = _train(tmp_path, {"at": pa.array(times, pa.timestamp("us")), "load": _wave()}, series='step = "row"')

    whole, windows = _drawn(job, length=500), _drawn(job, windows=20, name="windows")

    at = whole["at"].cast(pa.int64()).to_numpy()
    assert at[0] > times[-1]
    assert set(np.diff(at)) == set(gaps.tolist())
    begins = windows["at"].cast(pa.int64()).to_numpy().reshape(20, 24)[:, 0]
    assert set(begins) <= set(times.tolist())


def test_entities_of_two_columns_and_of_numbers_keep_their_values(tmp_path: Path) -> None:
    at = pa.array(np.tile(FIRST_US + HOUR_US * np.arange(STEPS), 2), pa.timestamp("us"))
    columns = {
        "at": at,
        "site": pa.array(["a,b"] * STEPS + [None] * STEPS).dictionary_encode(),
        "line": pa.array([7] * STEPS + [8] * STEPS, pa.int16()),
        "load": np.concatenate([_wave(), 5 + _wave(1)]),
        "count": pa.array(np.round(50 + 10 * np.concatenate([_wave(2), _wave(3)])).astype(np.int32)),
        "is_on": pa.array(np.concatenate([_wave(), _wave()]) > 0),
    }
    job = _train(tmp_path, columns, series='entity = ["site", "line"]\nvalues = ["load", "count", "is_on"]')

    drawn = _drawn(job, length=480)
    one = _drawn(job, length=480, entities=['"a,b",7'], name="one")

    assert drawn.schema.field("count").type == pa.int32()
    assert drawn.schema.field("is_on").type == pa.bool_()
    rows = drawn.to_pylist()
    assert {(row["site"], row["line"]) for row in rows} == {("a,b", 7), (None, 8)}
    assert one["load"].equals(drawn.slice(0, 480)["load"])
    levels = [np.mean([row["load"] for row in rows if row["line"] == line]) for line in (7, 8)]
    assert levels == pytest.approx([0, 5], abs=0.3)
    assert 0.3 < np.mean([row["is_on"] for row in rows]) < 0.7


@pytest.mark.parametrize("reads", ["steps", "windows"])
def test_series_of_many_channels_keep_their_correlation(tmp_path: Path, reads: str) -> None:
    rng, steps = np.random.default_rng(0), np.arange(STEPS)
    factors = np.stack([np.sin(steps / 5), rng.normal(size=STEPS)], axis=1)
    values = factors @ rng.normal(size=(2, 10)) + 0.2 * rng.normal(size=(STEPS, 10))
    times = pa.array(FIRST_US + 60_000_000 * steps, pa.timestamp("us"))
    channels = {f"c{number}": values[:, number] for number in range(10)}
    job = _train(tmp_path, {"at": times, **channels}, series=f'reads = "{reads}"')

    drawn = _drawn(job, length=4_000)

    found = np.stack([drawn[name].to_numpy() for name in channels], axis=1)
    np.testing.assert_allclose(found.std(axis=0), values.std(axis=0), rtol=0.25)
    assert np.abs(np.corrcoef(found.T) - np.corrcoef(values.T)).mean() < 0.1


def test_partitions_without_context_are_drawn_too(tmp_path: Path) -> None:
    for day in range(5):
        steps = np.arange(day * 120, day * 120 + 120)
        path = tmp_path / "rows" / f"day={day}" / "part.parquet"
        path.parent.mkdir(parents=True)
        at = pa.array(FIRST_US + HOUR_US * steps, pa.timestamp("us"))
        pq.write_table(pa.table({"at": at, "load": _wave()[steps]}), path)
    job = tmp_path / "job.toml"
    job.write_text(
        'name = "kinds"\n[data]\npath = "rows"\nevent_time = "at"\n[series]\nwindow = 24\ncontext = false\n'
        '[model]\nfamily = "pca"\n'
    )
    train(job)

    drawn = _drawn(job, length=480)

    assert drawn["load"].to_numpy().std() == pytest.approx(_wave().std(), rel=0.15)

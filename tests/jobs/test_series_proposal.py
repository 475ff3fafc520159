"""Tables that `init` proposes as series, and tables that it does not propose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.jobs.explain import explain
from aepipe.jobs.init import init
from aepipe.jobs.init_choice import Choice
from aepipe.jobs.score import score
from aepipe.jobs.train.series_rows import read_series
from aepipe.jobs.train.train import train
from aepipe.tables.partitions import discover

RNG = np.random.default_rng(0)


def _times(steps: int, seconds: Any) -> Any:
    return np.datetime64("2026-01-01", "us") + (np.arange(steps) * seconds * 1e6).astype("timedelta64[us]")


def _machines(machines: int = 3, steps: int = 200) -> dict[str, Any]:
    return {
        "machine": np.repeat([f"m{number}" for number in range(machines)], steps),
        "at": np.tile(_times(steps, 300), machines),
        "heat": RNG.normal(size=machines * steps),
    }


def _init(folder: Path, columns: dict[str, Any], shuffle: bool = True) -> Path:
    table = pa.table(columns)
    if shuffle:
        table = table.take(RNG.permutation(table.num_rows))
    (folder / "rows").mkdir()
    half = table.num_rows // 2
    order = table.sort_by("at")
    pq.write_table(order.slice(0, half), folder / "rows" / "part-1.parquet")
    pq.write_table(order.slice(half), folder / "rows" / "part-2.parquet")
    init(folder / "rows", name=None, job_path=folder / "job.toml")
    return folder / "job.toml"


def test_machines_with_a_row_every_five_minutes_are_series(tmp_path: Path) -> None:
    path = _init(tmp_path, _machines())

    job = read_job(path)

    assert job.series is not None
    assert job.series.entity == ("machine",)
    assert "[series]  # 3 series of rows that are 5 min apart" in path.read_text()


@pytest.mark.parametrize("per_second", [1, 1_000])
def test_integers_since_1970_have_their_step_in_words(tmp_path: Path, per_second: int) -> None:
    columns = _machines()
    columns["at"] = columns["at"].astype("datetime64[s]").astype(np.int64) * per_second

    path = _init(tmp_path, columns)

    assert "[series]  # 3 series of rows that are 5 min apart" in path.read_text()


def test_one_series_needs_no_entity(tmp_path: Path) -> None:
    job = read_job(_init(tmp_path, {"at": _times(500, 1800), "value": RNG.normal(size=500)}))

    assert job.series is not None
    assert job.series.entity == ()


def test_two_columns_can_identify_a_series(tmp_path: Path) -> None:
    columns = _machines(4)
    columns |= {"plant": np.repeat(["p1", "p2", "p1", "p2"], 200), "machine": np.repeat(["m1", "m1", "m2", "m2"], 200)}

    job = read_job(_init(tmp_path, columns))

    assert job.series is not None
    assert set(job.series.entity) == {"machine", "plant"}


def _uncomment_columns(path: Path) -> None:
    lines = path.read_text().split("\n")
    at = lines.index("[columns]") + 3
    lines[at : at + 3] = [line.removeprefix("# ") for line in lines[at : at + 3]]
    path.write_text("\n".join(lines))


def test_the_only_constant_text_identifies_the_series_that_may_follow(tmp_path: Path) -> None:
    path = _init(tmp_path, _machines(1))

    job = read_job(path)

    assert job.series is not None
    assert job.series.entity == job.data.entity == ("machine",)
    assert "# one series of rows that are 5 min apart" in path.read_text()


def test_the_entity_is_not_chosen_among_several_constants_until_the_job_names_one(tmp_path: Path) -> None:
    path = _init(tmp_path, _machines(1) | {"unit": ["C"] * 200})

    assert read_job(path).data.entity == ()
    path.write_text(path.read_text().replace("entity = []", 'entity = ["machine"]'))
    assert read_job(path).data.entity == ("machine",)


def test_entity_and_event_time_may_be_named_as_columns_that_are_not_modelled(tmp_path: Path) -> None:
    path = _init(tmp_path, _machines())
    before = read_job(path)

    _uncomment_columns(path)

    assert read_job(path).data == before.data


def test_numbers_as_text_identify_a_series(tmp_path: Path) -> None:
    columns = _machines(3)
    columns["machine"] = np.repeat(["101", "102", "103"], 200)

    path = _init(tmp_path, columns)

    job = read_job(path)
    assert job.series is not None
    assert job.series.entity == ("machine",)
    assert set(read_series(job, discover(job)).names) == {"101", "102", "103"}


@pytest.mark.parametrize(("entity", "is_series"), [(("machine",), True), (("shop",), False)])
def test_a_chosen_entity_is_that_of_the_series(tmp_path: Path, entity: tuple[str, ...], is_series: bool) -> None:
    columns = _machines(3) | {"shop": np.tile(["n", "s"], 300)}
    (tmp_path / "rows").mkdir()
    pq.write_table(pa.table(columns).sort_by("at"), tmp_path / "rows" / "part.parquet")

    init(tmp_path / "rows", name=None, job_path=tmp_path / "job.toml", choice=Choice(entity=entity))

    job = read_job(tmp_path / "job.toml")
    assert job.data.entity == entity
    assert (job.series is not None) == is_series


@pytest.mark.parametrize("kind", ["irregular", "categories", "no number"])
def test_tables_of_events_are_not_series(tmp_path: Path, kind: str) -> None:
    columns = _machines()
    rows = len(columns["at"])
    if kind == "irregular":
        columns["at"] = _times(1, 0)[0] + np.sort(RNG.exponential(3e9, rows).cumsum()).astype("timedelta64[us]")
    elif kind == "categories":
        columns |= {name: RNG.choice(["x", "y", "z"], rows) for name in ("kind", "shop", "colour")}
    else:
        columns["heat"] = RNG.choice(["hot", "cold"], rows)

    assert read_job(_init(tmp_path, columns)).series is None


@pytest.mark.parametrize(("missing", "is_series"), [(4, True), (12, False)])
def test_a_few_missing_times_are_counted_and_do_not_hide_the_series(
    tmp_path: Path, missing: int, is_series: bool
) -> None:
    columns = _machines(4)
    times = columns["at"].tolist()
    for place in RNG.choice(np.arange(10, len(times)), missing, replace=False).tolist():
        times[place] = None
    columns["at"] = pa.array(times, pa.timestamp("us"))
    table = pa.table(columns)
    (tmp_path / "rows").mkdir()
    pq.write_table(table.sort_by("machine"), tmp_path / "rows" / "part.parquet")

    proposed = init(tmp_path / "rows", name=None, job_path=tmp_path / "job.toml")

    assert (read_job(tmp_path / "job.toml").series is not None) == is_series
    sentence = f"{missing} of the first 800 rows have no 'at': rows without a time have no score in a series job"
    assert (sentence in proposed.notes) == is_series


def _texts(pattern: str) -> Callable[[Any], Any]:
    return lambda times: [time.strftime(pattern) for time in times.tolist()]


SPELLINGS: dict[str, Callable[[Any], Any]] = {
    "ISO text": _texts("%Y-%m-%dT%H:%M:%S"),
    "text with an offset": lambda times: _texts("%Y-%m-%d %H:%M:%S+01:00")(times + np.timedelta64(1, "h")),
    "German text": _texts("%d.%m.%Y %H:%M"),
    "timestamps with a zone": lambda times: pa.array(times, pa.timestamp("us", "Europe/Berlin")),
    "integers": lambda times: times.astype("datetime64[s]").astype(np.int64),
    "text of seconds": lambda times: times.astype("datetime64[s]").astype(np.int64).astype(str),
}
DATES: dict[str, Callable[[Any], Any]] = {
    "dates": lambda times: times.astype("datetime64[D]"),
    "text of dates": lambda times: times.astype("datetime64[D]").astype(str),
}


def _scores_of_proposed_job(folder: Path, columns: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir()
    path = _init(folder, columns, shuffle=False)
    path.write_text(path.read_text().replace("[train]", "[train]\nepochs = 1"))
    train(path)
    result = score(path)
    return pa.concat_tables(
        pq.read_table(night.scores) for night in result.nights if night.scores is not None
    ).to_pydict()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [300, 86_400])
def test_job_that_init_proposes_trains_and_scores_however_times_are_written(tmp_path: Path, seconds: int) -> None:
    columns = _machines(2)
    columns["at"] = np.tile(_times(200, seconds), 2)
    order = np.argsort(columns["at"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    expected = _scores_of_proposed_job(tmp_path / "timestamps", columns)
    spellings = SPELLINGS if seconds == 300 else DATES

    for number, (name, written) in enumerate(spellings.items()):
        found = _scores_of_proposed_job(tmp_path / f"spelling{number}", columns | {"at": written(columns["at"])})

        assert found["machine"] == expected["machine"], name
        assert sum(value is not None for value in found["score"]) > 300, name
        if name != "integers":  # without a time of day for the stored steps
            np.testing.assert_allclose(
                np.array(found["score"], float), np.array(expected["score"], float), atol=1e-6, err_msg=name
            )


@pytest.mark.slow
def test_point_of_a_table_with_text_times_is_found_by_the_time_of_its_scores_too(tmp_path: Path) -> None:
    columns = _machines(2)
    columns["at"] = SPELLINGS["German text"](columns["at"])
    _scores_of_proposed_job(tmp_path / "german", columns)
    job = tmp_path / "german" / "job.toml"

    as_scored, as_written = (explain(job, [f"m1,{time}"]) for time in ("2026-01-01 08:20:00", "01.01.2026 08:20"))

    assert as_scored[0].score == as_written[0].score is not None

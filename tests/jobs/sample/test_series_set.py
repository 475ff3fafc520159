"""Synthetic series of a series job: profile, spread and autocorrelation of the sites that they were learned from."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.cli.main import app
from aepipe.errors import AepipeError, ArgumentInvalid, DataUnreadable, JobInvalid, OptionInvalid
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.series_set import SeriesSetResult, sample_series
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.series.generation.overlap import hop_of
from aepipe.storage import SAMPLE, Outputs
from tests.support.seasons import FIRST, MEMORY, PER_DAY, SITES, SPREAD, STEP_US, profile, site_rows, write_sites

YEAR = 364
WINDOW = 100
START = "2027-01-04"  # a Monday
SLOW = pytest.mark.slow
BRIEFLY = "\n[train]\nepochs = 2"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the default job on eight weeks."""
    path = write_sites(tmp_path_factory.mktemp("sites"))
    train(path)
    return path


@pytest.fixture(scope="module")
def year(job: Path) -> dict[str, pa.Table]:
    """Draw a year of each site."""
    return _by_site(sample_series(job, start=START, length=f"{YEAR}d", seed=1, name="year"))


def _by_site(result: SeriesSetResult) -> dict[str, pa.Table]:
    table = pq.ParquetFile(result.path).read()
    return {site: table.filter(pc.equal(table["site"], site)) for site in result.entities}


def _load(table: pa.Table) -> np.ndarray:
    return np.asarray(table["load"].to_numpy())


def _correlation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@SLOW
def test_drawn_series_have_the_columns_and_types_of_the_source(job: Path, year: dict[str, pa.Table]) -> None:
    source = pq.ParquetFile(job.parent / "rows" / "part-0.parquet").schema_arrow

    assert tuple(year) == SITES
    for site, table in year.items():
        assert table.schema.names == [*source.names, "seed", "model_version"]
        assert all(table.schema.field(name).type == source.field(name).type for name in source.names)
        assert table["note"].null_count == table.num_rows == YEAR * PER_DAY
        at = np.datetime64(START, "us") + np.arange(table.num_rows) * np.timedelta64(STEP_US, "us")
        np.testing.assert_array_equal(table["at"].to_numpy(), at)
        assert table["site"].unique().to_pylist() == [site]


@SLOW
@pytest.mark.parametrize("site", SITES)
def test_drawn_series_follow_hours_and_weekdays_of_their_site(year: dict[str, pa.Table], site: str) -> None:
    steps = np.arange(7 * PER_DAY)

    means = _load(year[site]).reshape(-1, len(steps)).mean(axis=0)

    error = means - profile(site, steps)
    assert np.abs(error.mean()) < 0.15 * SPREAD[site]
    assert error.std() < 0.5 * SPREAD[site]
    assert np.corrcoef(means, profile(site, steps))[0, 1] > 0.98


@SLOW
@pytest.mark.parametrize("site", SITES)
def test_drawn_series_have_the_spread_and_autocorrelation_of_their_site(year: dict[str, pa.Table], site: str) -> None:
    noise = _load(year[site]) - profile(site, np.arange(YEAR * PER_DAY))

    assert noise.std() == pytest.approx(SPREAD[site], rel=0.12)
    for lag in (1, 4, 12, 96):
        assert _correlation(noise, lag) == pytest.approx(MEMORY**lag, abs=0.1), lag


@SLOW
@pytest.mark.parametrize("site", SITES)
def test_channels_of_a_site_keep_their_correlation(year: dict[str, pa.Table], site: str) -> None:
    noise = _load(year[site]) - profile(site, np.arange(YEAR * PER_DAY))

    found = np.corrcoef(noise, year[site]["heat"].to_numpy())[0, 1]

    assert found == pytest.approx(np.sqrt(0.5), abs=0.1)


@SLOW
@pytest.mark.parametrize("site", SITES)
def test_windows_join_without_a_jump(year: dict[str, pa.Table], site: str) -> None:
    """A step from one window to the next is as large as any other step."""
    noise = _load(year[site]) - profile(site, np.arange(YEAR * PER_DAY))
    changes = np.abs(np.diff(noise))
    hop, _ = hop_of(WINDOW)
    begins = np.arange(1, len(changes)) % hop == 0

    assert changes[1:][begins].mean() == pytest.approx(changes[1:][~begins].mean(), rel=0.15)


@SLOW
def test_drawn_series_are_not_copies_of_the_training_rows(job: Path, year: dict[str, pa.Table]) -> None:
    drawn = _load(year["office"]) - profile("office", np.arange(YEAR * PER_DAY))
    real = _load(site_rows("office", 56)) - profile("office", np.arange(56 * PER_DAY))

    weeks = (drawn.reshape(-1, 7 * PER_DAY), real.reshape(-1, 7 * PER_DAY))
    assert np.abs(np.corrcoef(*weeks)[: len(weeks[0]), len(weeks[0]) :]).max() < 0.5


@SLOW
def test_the_model_finds_drawn_series_as_usual_as_real_ones(job: Path) -> None:
    drawn = _by_site(sample_series(job, start="2026-03-02", length="14d", seed=3, name="two-weeks"))
    model = aepipe.load(job)

    flagged = [np.mean(model.score(table)["is_anomaly"].to_numpy()) for table in drawn.values()]

    assert max(flagged) < 0.1


@SLOW
def test_series_depend_on_seed_and_entity_alone(job: Path) -> None:
    def load(**given: object) -> np.ndarray:
        return _load(_by_site(sample_series(job, start=START, name="any", **given))["plant"])  # type: ignore[arg-type]

    first = load(length=100, seed=5)

    np.testing.assert_array_equal(load(length=100, seed=5, entities=["plant"]), first)
    np.testing.assert_array_equal(load(length=150, seed=5)[:100], first)
    assert not np.array_equal(load(length=100, seed=6), first)


@SLOW
def test_a_repeated_call_writes_nothing_and_a_set_has_its_page(job: Path) -> None:
    done = sample_series(job, rows=301, seed=5, name="repeated")
    assert (done.created, done.rows, done.left_out) == (True, 302, ("shed",))
    assert set(done.calendar.split(", ")) >= {"no cycle", "hour of workdays and weekends"}
    assert done.report is not None
    page = done.report.read_text()
    assert "excess kurtosis" in page
    assert done.calendar in page
    assert "no privacy guarantee" in page

    again = sample_series(job, rows=301, seed=5, name="repeated")

    assert not again.created
    assert (again.path, again.rows, again.entities) == (done.path, done.rows, done.entities)
    first = _by_site(again)["plant"]["at"][0].as_py()
    assert np.datetime64(first, "us") == FIRST + 56 * np.timedelta64(1, "D")  # the first step after training


@SLOW
def test_single_windows_lie_at_moments_of_the_training(job: Path) -> None:
    result = sample_series(job, windows=300, seed=2, name="windows")

    table = pq.ParquetFile(result.path).read()
    number, site = table["window"].to_numpy(), np.array(table["site"].to_pylist())
    at = (table["at"].to_numpy() - FIRST) // np.timedelta64(STEP_US, "us")
    assert (result.rows, len(np.unique(number))) == (300 * WINDOW, 300)
    assert (np.diff(at.astype(int).reshape(300, WINDOW), axis=1) == 1).all()
    assert at.min() >= 0
    assert at.max() < 56 * PER_DAY
    for name in SITES:
        assert 100 < len(np.unique(number[site == name])) < 200
        noise = _load(table.filter(pc.equal(table["site"], name))) - profile(name, at[site == name].astype(int))
        assert noise.std() == pytest.approx(SPREAD[name], rel=0.2)


@SLOW
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"entities": ["ofice"]}, "was trained on no entity 'ofice'; did you mean 'office'"),
        ({"entities": ["shed"]}, "'shed' is too short to be drawn: expected 300 training steps"),
        ({"length": "7 weeks"}, "expected a number of steps or a duration such as 7d, got '7 weeks'"),
        ({"length": "1min"}, "expected at least one step, got '1min'"),
        ({"start": "tomorrow"}, "expected a time such as 2026-02-01"),
        ({"windows": 3, "start": START}, "leave out start and length"),
        ({"rows": 0}, "expected a whole number of at least 1"),
    ],
)
def test_arguments_that_cannot_be_met_are_refused_in_one_sentence(
    job: Path, given: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ArgumentInvalid, match=sentence) as caught:
        sample_series(job, name="refused", **given)  # type: ignore[arg-type]

    assert len(str(caught.value).splitlines()) == 1
    assert Outputs(job.parent / "out" / "sites").manifest(SAMPLE, "refused") is None


@pytest.mark.parametrize("setting", ['where = "load > 3"', "[samples.quality]\ntrees = 0.6"])
def test_settings_of_rows_are_refused(tmp_path: Path, setting: str) -> None:
    path = write_sites(tmp_path, days=1, options=f"[samples]\n{setting}")

    with pytest.raises(
        JobInvalid, match="cannot apply to series, which have no conditions and no checks: leave it out"
    ):
        sample_series(path)


@SLOW
def test_the_command_draws_and_refuses_options_of_rows(job: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["sample", str(job), *options])
        assert found.exception is None or isinstance(found.exception, AepipeError | SystemExit)
        return found.exit_code, found.output + str(found.exception or "")

    code, printed = run("--entity", "plant", "--start", START, "--length", "2d", "--name", "plain", "--json")
    assert (code, json.loads(printed)["rows"]) == (0, 2 * PER_DAY)
    code, printed = run("--length", "5", "--name", "plain")
    assert code == 0
    assert "too short to be drawn: shed" in printed
    code, printed = run("--where", "load > 3")
    assert code != 0
    assert "does not fit the series of a series job" in printed


@SLOW
def test_a_report_after_drawing_shows_the_channels(job: Path) -> None:
    sample_series(job, rows=500, seed=1, name="shown")
    score(job)

    page = report(job).path.read_text()

    shown = page.split('id="samples"')[1]
    assert "samples-shown.html" in shown
    assert "load" in shown.split("</table>")[0]


@SLOW
def test_training_rows_that_are_gone_are_named(tmp_path: Path, job: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(job.parent, tmp_path / "copy"))
    (copy / "rows" / "part-0.parquet").rename(copy / "rows" / "part-9.parquet")

    with pytest.raises(DataUnreadable, match=r"which sites/.* was trained on and series are drawn from"):
        sample_series(copy / "job.toml", rows=100, seed=77, name="gone")


@SLOW
def test_a_family_of_codes_cannot_and_the_sentence_names_those_that_can(tmp_path: Path) -> None:
    path = write_sites(tmp_path, days=14, family="vq_vae", options=BRIEFLY)
    train(path)

    with pytest.raises(
        OptionInvalid, match=r"a vq_vae, cannot draw series: expected a family .*, vae or wae"
    ) as caught:
        sample_series(path, rows=100)

    assert len(str(caught.value).splitlines()) == 1


@SLOW
@pytest.mark.parametrize(("family", "options"), [("vae", ""), ("vae", f'trunk = "recurrent"{BRIEFLY}'), ("pca", "")])
def test_other_families_draw_the_profile_too(tmp_path: Path, family: str, options: str) -> None:
    path = write_sites(tmp_path, days=28, family=family, options=options)
    train(path)

    drawn = _by_site(sample_series(path, start=START, length="84d", seed=1))

    for site in SITES:
        steps = np.arange(84 * PER_DAY)
        noise = _load(drawn[site]) - profile(site, steps)
        assert noise.std() == pytest.approx(SPREAD[site], rel=0.25)
        assert _correlation(noise, 1) == pytest.approx(MEMORY, abs=0.15)


def _write_returns(folder: Path, *, stocks: int = 6, days: int = 2_100) -> Path:
    """Write daily returns on weekdays in percent: GARCH with Student shocks, for heavy tails and volatile periods."""
    tables, steps = [], np.arange(days)
    for stock in range(stocks):
        rng, returns, power = np.random.default_rng(stock), np.zeros(days), 1.0
        shocks = rng.standard_t(5, days) / np.sqrt(5 / 3)
        for day in range(days):
            returns[day] = np.sqrt(power) * shocks[day]
            power = 0.05 + 0.1 * returns[day] ** 2 + 0.85 * power
        at, trades = FIRST + steps * np.timedelta64(1, "D"), steps % 7 < 5
        names = [f"s{stock}"] * int(trades.sum())
        tables.append(pa.table({"stock": names, "day": at[trades], "change": returns[trades]}))
    (folder / "rows").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), folder / "rows" / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(
        'name = "returns"\n[data]\npath = "rows"\nevent_time = "day"\n[series]\nentity = ["stock"]\nwindow = 50\n'
    )
    return job


@SLOW
def test_returns_have_heavy_tails_clusters_and_no_weekends(tmp_path: Path) -> None:
    job = _write_returns(tmp_path)
    train(job)

    drawn = sample_series(job, length=14_000, seed=1)

    table = pq.ParquetFile(drawn.path).read()
    assert set((table["day"].to_numpy().astype("datetime64[D]").astype(int) + 3) % 7) == {0, 1, 2, 3, 4}
    values = [np.asarray(table.filter(pc.equal(table["stock"], name))["change"].to_numpy()) for name in drawn.entities]
    pooled = np.concatenate(values)
    assert pooled.std() == pytest.approx(1.0, rel=0.2)
    assert np.mean(pooled**4) / np.mean(pooled**2) ** 2 > 4
    assert np.mean([_correlation(each, 1) for each in values]) == pytest.approx(0, abs=0.08)
    assert np.mean([_correlation(np.abs(each), 1) for each in values]) > 0.08
    assert np.mean([_correlation(np.abs(each), 10) for each in values]) > 0.03
    assert drawn.report is not None
    cells = drawn.report.read_text().split('<th scope="row">change</th>')[1].split("</tr>")[0]
    texts = [cell.split("</td>")[0] for cell in cells.split('<td class="n">')[1:]]
    names = ("mean", "deviation", "skewness", "kurtosis", "autocorrelation", "clusters", "later clusters", "leverage")
    facts = {
        name: [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts[2 * at : 2 * at + 2]]
        for at, name in enumerate(names)
        if name in ("deviation", "kurtosis", "clusters")
    }
    assert min(facts["kurtosis"]) > 0.5
    assert facts["clusters"][0] == pytest.approx(facts["clusters"][1], abs=0.15)
    assert facts["deviation"][0] == pytest.approx(facts["deviation"][1], rel=0.2)


def test_a_job_of_rows_has_no_series(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('name = "rows"\n[data]\npath = "rows"\n')

    with pytest.raises(JobInvalid, match="is a job of rows, which has no series to draw"):
        sample_series(tmp_path / "job.toml")
    found = CliRunner().invoke(app, ["sample", str(tmp_path / "job.toml"), "--entity", "a"])
    assert "is an option of series jobs" in str(found.exception)

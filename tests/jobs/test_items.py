"""Lists of items from training to ranking: new users get items of their taste, and unusual baskets are explained."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.recommend import recommend
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from tests.support.linear_bundle import make_bundle, numbers

TASTES, EACH = 4, 30


def users(rows: int, seed: int, *, odd: int = 0) -> pa.Table:
    """Draw 5 to 12 of the 30 items of one taste per user; the last users mix all tastes."""
    rng = np.random.default_rng(seed)
    lists = []
    for at in range(rows):
        taste = EACH * rng.integers(TASTES)
        among = np.arange(TASTES * EACH) if at >= rows - odd else np.arange(taste, taste + EACH)
        lists.append(rng.choice(among, rng.integers(5, 13), replace=False))
    return pa.table(
        {
            "user": [f"{seed}-{at}" for at in range(rows)],
            "age": rng.normal(40, 9, rows),
            "items": pa.array(lists, pa.list_(pa.int32())),
        }
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    for night, table in (("dt=2026-01-01", users(700, 0)), ("dt=2026-01-02", users(80, 1, odd=4))):
        (folder / "rows" / night).mkdir(parents=True)
        pq.write_table(table, folder / "rows" / night / "part-0.parquet")
    path = folder / "job.toml"
    path.write_text(
        'name = "shop"\n[data]\npath = "rows"\nkeys = ["user"]\n[columns]\nitems = "items"\n'
        '[model]\nfamily = "mult_vae"\nlatent = 8\n'
        '[train]\nto = "dt=2026-01-01"\nepochs = 150\n[calibration]\nalpha = 0.02\n[samples]\nrows = 200\n'
    )
    train(path)
    score(path)
    return path


@pytest.mark.slow
def test_users_who_are_new_get_unseen_items_of_their_taste(job: Path) -> None:
    result = recommend(job, "dt=2026-01-02", items=10)

    ranked, source = pq.read_table(result.path), users(80, 1, odd=4)
    assert ranked.column_names == ["user", "recommended", "probability", "model_version"]
    assert ranked["user"].equals(source["user"])
    assert ranked.schema.field("recommended").type == pa.list_(pa.int32())
    right = []
    columns = (source["items"], ranked["recommended"], ranked["probability"])
    for has, found, p in zip(*(each.to_pylist() for each in columns), strict=True):
        assert len(found) == 10
        assert not set(found) & set(has)
        assert sorted(p, reverse=True) == p
        right.append(np.mean([item // EACH == has[0] // EACH for item in found]))
    assert np.mean(right[:-4]) > 0.9
    assert not recommend(job, "dt=2026-01-02", items=10).created


@pytest.mark.slow
def test_the_api_and_the_command_rank_as_the_job_does(job: Path) -> None:
    source = users(80, 1, odd=4)

    found = aepipe.load(job).recommend(source, 10)
    done = CliRunner().invoke(app, ["recommend", str(job), "dt=2026-01-02", "--items", "10"])

    assert done.exit_code == 0, done.output
    assert "items for 80 rows in" in done.output
    written = pq.read_table(recommend(job, "dt=2026-01-02", items=10).path)
    assert found["recommended"].to_pylist() == written["recommended"].to_pylist()
    with pytest.raises(ArgumentInvalid, match="items: expected 1 to 100, got 0"):
        recommend(job, "dt=2026-01-02", items=0)


@pytest.mark.slow
def test_mixed_baskets_score_high_and_their_items_are_the_reason(job: Path) -> None:
    scores = pq.read_table(job.parent / "out" / "shop" / "scores" / "dt=2026-01-02" / "part-0.parquet")
    values = np.array(scores["score"].to_pylist())

    assert np.median(values[-4:]) > np.quantile(values[:-4], 0.95)
    (found,) = explain(job, ["1-79"])
    (line,) = [each for each in found.columns if each.name == "items"]
    assert line.rank == 1
    assert line.why.startswith("unlikely: ")
    assert report(job).path.exists()


@pytest.mark.slow
def test_synthetic_baskets_are_sets_of_one_taste_as_large_as_real_ones(job: Path) -> None:
    drawn = pq.read_table(sample(job).path)["items"].to_pylist()

    sizes = [len(each) for each in drawn]
    assert 6.5 < np.mean(sizes) < 10.5
    assert all(len(set(each)) == len(each) for each in drawn)
    shares = [np.bincount(np.array(each) // EACH, minlength=TASTES).max() / len(each) for each in drawn if each]
    assert np.mean(shares) > 0.6  # 0.45 of items that are drawn at random


def test_a_model_without_items_refuses_to_rank(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, numbers(400, columns=2), data={"keys": ["id"]})

    with pytest.raises(OptionInvalid, match=r"ranks no items: expected a column of kind items, got none"):
        aepipe.load(bundle.path).recommend(numbers(5, columns=2))

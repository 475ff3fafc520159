"""Conditional sampling and imputation through the real jobs, from file to file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.cli.main import app
from aepipe.errors import JobInvalid, OptionInvalid, SchemaMismatch
from aepipe.expressions.condition import Condition
from aepipe.inference.sampler import draw
from aepipe.jobs.sample.impute import impute
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import lock

JOB = """
name = "till"
[data]
path = "rows"
keys = ["id"]
[model]
family = "tabular_vae"
first = ["shop"]
[run]
device = "cpu"
[samples.quality]
check = false
"""


def sales(rows: int) -> pa.Table:
    """Amounts that follow a shop, of which a tenth is abroad; a tenth has no amount."""
    rng = np.random.default_rng(0)
    shop = rng.choice(["north", "south", "abroad"], rows, p=[0.6, 0.3, 0.1])
    amount = np.round(np.where(shop == "abroad", 500, 50) + 5 * rng.standard_normal(rows), 2)
    return pa.table(
        {
            "id": np.arange(rows),
            "amount": pa.array(amount, mask=rng.random(rows) < 0.1),
            "pieces": pa.array(rng.integers(1, 9, rows), pa.int16()),
            "shop": pa.array(shop).dictionary_encode(),
        }
    )


@pytest.fixture(scope="session")
def till(shared_folder: Path) -> Path:
    folder = shared_folder / "wishes"
    with lock(shared_folder / "wishes.lock", wait_s=300):
        if not (folder / "done").exists():
            (folder / "rows").mkdir(parents=True, exist_ok=True)
            pq.write_table(sales(3_000), folder / "rows" / "a.parquet")
            (folder / "job.toml").write_text(JOB)
            train(folder / "job.toml")
            (folder / "done").touch()
    return folder / "job.toml"


@pytest.fixture
def job(till: Path, tmp_path: Path) -> Path:
    """The job, on a copy that may be written to."""
    shutil.copytree(till.parent, tmp_path / "till")
    return tmp_path / "till" / "job.toml"


@pytest.fixture(scope="module")
def bundle(till: Path) -> Bundle:
    return Bundle.open(till.parent / "exported" / "till")


def drawn(bundle: Bundle, rows: int, *, where: str, **options: int) -> pa.Table:
    batches = list(draw(bundle, rows, where=Condition.parse(where), **{"seed": 3, **options}))  # type: ignore[arg-type]
    return pa.Table.from_batches(batches).unify_dictionaries()


def test_conditional_samples_of_rare_class_are_distributed_as_the_class(job: Path) -> None:
    asked = sample(job, rows=2_500, where="shop = 'abroad'", partition="abroad")

    found = pq.read_table(asked.path)
    amounts = found["amount"].drop_null().to_numpy()
    assert found.num_rows == 2_500
    assert set(found["shop"].to_pylist()) == {"abroad"}
    assert found.schema.field("shop").type == sales(1).schema.field("shop").type
    assert np.median(amounts) == pytest.approx(500, abs=15)
    assert 0.01 < found["amount"].null_count / 2_500 < 0.25


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("amount > 55.5", lambda row: row["amount"] > 55.5),
        ("amount is null and pieces in (2, 3)", lambda row: row["amount"] is None and row["pieces"] in (2, 3)),
        ("shop = 'south' or pieces >= 7", lambda row: row["shop"] == "south" or row["pieces"] >= 7),
    ],
)
def test_every_sample_satisfies_condition_on_any_column(bundle: Bundle, where: str, holds) -> None:  # type: ignore[no-untyped-def]
    found = drawn(bundle, 2_100, where=where).to_pylist()

    assert len(found) == 2_100
    assert all(map(holds, found))


def test_conditional_samples_can_be_drawn_from_any_row_on(bundle: Bundle) -> None:
    where = "shop = 'abroad'"
    whole = drawn(bundle, 4_200, where=where)

    assert drawn(bundle, 300, where=where, start=1_900).equals(whole.slice(1_900, 300))
    assert not drawn(bundle, 4_200, where=where, seed=4).equals(whole)
    assert drawn(bundle, 0, where=where).num_rows == 0


def test_unsatisfiable_condition_is_rejected(job: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.inference.conditional.MOST_ROWS", 4_096)

    with pytest.raises(JobInvalid, match=r"'shopp' is no column of till/.*; did you mean 'shop'"):
        sample(job, rows=10, where="shopp = 'north'", partition="x")
    with pytest.raises(OptionInvalid):
        sample(job, rows=10, where="shop = ", partition="x")
    with pytest.raises(JobInvalid, match=r"amount > 9000 holds for none of 4,096 rows that till/.* drew"):
        drawn(bundle, 10, where="amount > 9000")


def test_same_model_scores_and_explains_rows(job: Path) -> None:
    result = score(job)

    (path,) = (job.parent / "out" / "till" / "scores").rglob("*.parquet")
    scores = pq.read_table(path)
    assert result is not None
    assert scores.num_rows == 3_000
    assert set(scores["reason_1"].to_pylist()) <= {"amount", "pieces", "shop", None}


def gappy(rows: int) -> pa.Table:
    """Sales of which some cells are missing, with a shop that training never saw and a column that it did not have."""
    table, rng = sales(rows), np.random.default_rng(1)
    shops = table["shop"].cast(pa.string()).to_pylist()
    shops = [None if rng.random() < 0.2 else shop for shop in shops]
    shops[2] = "moon"
    table = table.set_column(3, "shop", pa.array(shops).dictionary_encode())
    return table.append_column("note", pa.array([f"n{row}" for row in range(rows)]))


def test_missing_cells_are_imputed_and_other_cells_unchanged(job: Path) -> None:
    source = gappy(2_500)
    pq.write_table(source, job.parent / "rows" / "b.parquet")

    result = impute(job, "b", seed=1)

    found = pq.read_table(result.path)
    assert found.column_names == [*source.column_names, "model_version"]
    assert found.num_rows == source.num_rows
    for name in source.column_names:
        assert found.schema.field(name).type == source.schema.field(name).type
        there = source[name].is_valid()
        assert found[name].filter(there).to_pylist() == source[name].filter(there).to_pylist()
    assert result.filled["shop"] == source["shop"].null_count
    assert found["shop"].null_count == found["amount"].null_count == 0
    assert result.left == {}
    amounts = source["amount"].to_numpy()
    told = np.asarray(source["shop"].is_null()) & ~np.isnan(amounts)
    abroad, dear = np.array([shop == "abroad" for shop in found["shop"].to_pylist()]), amounts > 275
    assert abroad[told & dear].mean() > 0.7
    assert abroad[told & ~dear].mean() < 0.05
    guessed = np.isnan(amounts) & ~np.asarray(source["shop"].is_null())
    near = np.abs(found["amount"].to_numpy() - np.where(abroad, 500, 50)) < 40
    assert near[guessed].mean() > 0.9
    again, other = impute(job, "b", seed=1), impute(job, "b", seed=2)
    assert not again.created
    assert other.created


def test_invalid_imputation_is_rejected(job: Path, bundle: Bundle) -> None:
    with pytest.raises(JobInvalid, match="no partition 'c' in"):
        impute(job, "c")
    pq.write_table(gappy(5).drop_columns(["pieces"]), job.parent / "rows" / "b.parquet")
    with pytest.raises(SchemaMismatch, match="pieces"):
        impute(job, "b")
    assert not (job.parent / "out" / "till" / "filled").exists()


def test_sample_fill_equals_impute(job: Path) -> None:
    runner = CliRunner()
    pq.write_table(gappy(300), job.parent / "rows" / "b.parquet")

    old = runner.invoke(app, ["sample", str(job), "--fill", "b", "--seed", "1", "--json"])
    path = Path(json.loads(old.stdout)["path"])
    rows = pq.read_table(path)
    shutil.rmtree(job.parent / "out")

    new = runner.invoke(app, ["impute", str(job), "b", "--seed", "1", "--json"])

    assert old.exit_code == new.exit_code == 0
    assert without_seconds(old.stdout) == without_seconds(new.stdout)
    assert pq.read_table(path).equals(rows)
    again = [["sample", str(job), "--fill", "b", "--seed", "1"], ["impute", str(job), "b", "--seed", "1"]]
    assert len({runner.invoke(app, arguments).output for arguments in again}) == 1


def without_seconds(printed: str) -> dict[str, object]:
    return {name: value for name, value in json.loads(printed).items() if name != "seconds"}


def test_python_imputes_the_same_values_as_the_job(job: Path) -> None:
    source = gappy(300)
    pq.write_table(source, job.parent / "rows" / "b.parquet")

    filled = aepipe.load(job.parent / "exported" / "till").fill(source, seed=1)

    written = pq.read_table(impute(job, "b", seed=1).path)
    assert filled["amount"].equals(written["amount"])
    assert filled["shop"].to_pylist() == written["shop"].to_pylist()

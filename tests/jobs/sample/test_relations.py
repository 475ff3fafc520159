"""Relations between columns hold in synthetic rows through the real jobs; card and page list them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train

JOB = """
name = "orders"
[data]
path = "rows.parquet"
[model]
family = "{family}"
[train]
epochs = 4
[samples.quality]
closeness = 0.5
[run]
device = "cpu"
"""


def orders(rows: int) -> pa.Table:
    """Generate orders: the total is a sum, the city determines the region, refund and reason are null together."""
    generator = np.random.default_rng(0)
    net = np.round(generator.lognormal(4, 1, rows), 2)
    vat = np.round(net * generator.choice([0.07, 0.19], rows), 2)
    city = generator.choice(["Rome", "Milan", "Paris", "Lyon"], rows)
    kept = generator.random(rows) < 0.8
    return pa.table(
        {
            "net": net,
            "vat": vat,
            "total": np.round(net + vat, 2),
            "region": np.where(np.isin(city, ["Rome", "Milan"]), "IT", "FR"),
            "city": city,
            "refund": pa.array(np.round(generator.random(rows) * 50, 2), mask=kept),
            "reason": pa.array(generator.choice(["late", "broken"], rows), mask=kept),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tabular_vae", "vae"])
def test_exact_relations_hold_in_every_row_even_of_a_model_of_few_epochs(family: str, tmp_path: Path) -> None:
    pq.write_table(orders(1_500), tmp_path / "rows.parquet")
    (tmp_path / "job.toml").write_text(JOB.format(family=family))
    train(tmp_path / "job.toml")

    result = sample(tmp_path / "job.toml", rows=2_000, name="related")

    rows = pq.read_table(result.path)
    columns = {name: rows[name].to_numpy() for name in ("net", "vat", "total")}
    assert rows.num_rows == 2_000
    assert np.abs(columns["net"] + columns["vat"] - columns["total"]).max() < 1e-6
    lands = {"Rome": "IT", "Milan": "IT", "Paris": "FR", "Lyon": "FR"}
    assert rows["region"].to_pylist() == [lands[city] for city in rows["city"].to_pylist()]
    assert rows["refund"].is_null().equals(rows["reason"].is_null())
    titles = ("total = net + vat", "region follows from city", "reason is missing where refund is, and only there")
    bundle = tmp_path / "exported" / "orders"
    card = next(bundle.rglob("card.md")).read_text()
    assert result.report is not None
    page = result.report.read_text()
    for title in titles:
        assert f"| {title} | 100 % |" in card
        assert title in page
    assert "99.9 %" in page
    model = aepipe.load(str(bundle))
    assert model.sample(2_500, seed=1).head(700).equals(model.sample(700, seed=1))


@pytest.mark.slow
def test_condition_on_a_derived_column_holds(tmp_path: Path) -> None:
    pq.write_table(orders(1_500), tmp_path / "rows.parquet")
    (tmp_path / "job.toml").write_text(JOB.format(family="tabular_vae"))
    train(tmp_path / "job.toml")

    for where in ("total > 100", "total > 400", "region = 'IT' and total < 40"):
        rows = pq.read_table(sample(tmp_path / "job.toml", rows=150, where=where, name="some").path)
        assert rows.num_rows == 150
        assert np.abs(rows["net"].to_numpy() + rows["vat"].to_numpy() - rows["total"].to_numpy()).max() < 1e-6
        assert min(rows["total"].to_pylist()) > 400 or where != "total > 400"

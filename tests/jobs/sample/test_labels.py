"""Labels of synthetic rows through the real jobs: modelled on request, and never part of a score."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, JobInvalid
from aepipe.jobs.sample.augment import augment
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train

pytestmark = pytest.mark.slow


JOB = """
name = "cards"
[data]
path = "rows.parquet"
keys = ["id"]
labels = ["label", "group"]
[model]
family = "{family}"
[train]
epochs = 12
[samples]
labels = {labels}
quality = {{ check = false }}
[run]
device = "cpu"
"""


def payments(rows: int) -> pa.Table:
    """Generate payments, a tenth of them frauds, which are larger and mostly abroad."""
    generator = np.random.default_rng(0)
    fraud = generator.random(rows) < 0.1
    return pa.table(
        {
            "id": np.arange(rows),
            "amount": np.round(generator.lognormal(np.where(fraud, 4.5, 3), 0.7), 2),
            "place": np.where(generator.random(rows) < np.where(fraud, 0.8, 0.1), "abroad", "home"),
            "label": fraud.astype(np.int64),
            "group": pa.array(np.where(fraud, "bad", "good"), mask=generator.random(rows) < 0.3),
        }
    )


def trained(folder: Path, *, family: str = "tabular_vae", labels: str = "true") -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(payments(2_000), folder / "rows.parquet")
    (folder / "job.toml").write_text(JOB.format(family=family, labels=labels))
    train(folder / "job.toml")
    return folder / "job.toml"


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("cards"))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("plain"), labels="false")


@pytest.mark.parametrize("family", ["tabular_vae", "vae"])
def test_samples_have_labels_that_depend_on_the_row(family: str, cards: Path, tmp_path: Path) -> None:
    job = cards if family == "tabular_vae" else trained(tmp_path / "vae", family=family)

    rows = pq.read_table(sample(job, rows=3_000, partition="labels").path)

    assert rows.schema.names[:5] == payments(1).schema.names
    assert rows.schema.field("label").type == pa.int64()
    label, amount = rows["label"].to_numpy(), rows["amount"].to_numpy()
    assert set(label.tolist()) == {0, 1}
    assert label.mean() == pytest.approx(0.1, abs=0.06)
    assert np.median(amount[label == 1]) > 2 * np.median(amount[label == 0])
    assert rows["group"].null_count / 3_000 == pytest.approx(0.3, abs=0.08)


def test_modelled_labels_change_no_score_and_no_feature(cards: Path, unlabelled: Path) -> None:
    with_labels, without = (aepipe.load(str(job.parent / "exported" / "cards")) for job in (cards, unlabelled))
    rows = payments(300)

    assert with_labels.score(rows).equals(without.score(rows))
    assert with_labels.encode(rows).equals(without.encode(rows))
    assert with_labels.bundle.encoding.layout == without.bundle.encoding.layout
    assert with_labels.bundle.calibration == without.bundle.calibration


def test_condition_and_share_on_a_label_hold(cards: Path) -> None:
    frauds = pq.read_table(sample(cards, rows=300, where="label = 1 and amount > 60", partition="frauds").path)
    halves = pq.read_table(sample(cards, rows=200, shares={"label": {"1": 0.5}}, partition="halves").path)

    assert set(frauds["label"].to_pylist()) == {1}
    assert min(frauds["amount"].to_pylist()) > 60
    assert sum(halves["label"].to_pylist()) == 100


def test_python_draws_the_same_labels(cards: Path) -> None:
    model = aepipe.load(str(cards.parent / "exported" / "cards"))

    drawn = model.sample(50, seed=3, where="label = 1")

    assert set(drawn["label"]) == {1}
    assert drawn.equals(model.sample(80, seed=3, where="label = 1").head(50))


def test_augment_works_for_a_label(cards: Path) -> None:
    done = CliRunner().invoke(app, ["augment", str(cards), "--rare", "label=1", "--rows", "100", "--json"])

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["arms"][3]["rows"] == found["arms"][0]["rows"] + 100
    assert found["arms"][0]["auroc"][0] < 0.9999  # `group` would reveal the label


def test_label_that_is_not_modelled_names_the_key_to_set(unlabelled: Path) -> None:
    remedy = (
        r"is a label that cards/\S+ does not sample. Set labels = true under \[samples\] in the job and train again"
    )

    with pytest.raises(ArgumentInvalid, match=f"rare: 'label' {remedy}"):
        augment(unlabelled, "label=1")
    with pytest.raises(JobInvalid, match=f"where: 'label' {remedy}"):
        sample(unlabelled, where="label = 1")
    with pytest.raises(JobInvalid, match=f"shares: 'label' {remedy}"):
        sample(unlabelled, shares={"label": {"1": 0.5}})
    rows = pq.read_table(sample(unlabelled, rows=10, partition="ten").path)
    assert rows["label"].null_count == 10


@pytest.mark.parametrize(
    ("labels", "message"),
    [("[]", r"\[samples\] labels: the table has no labels: name them under \[data\] labels")],
)
def test_labels_are_refused_before_training_if_there_are_none(labels: str, message: str, tmp_path: Path) -> None:
    pq.write_table(payments(200), tmp_path / "rows.parquet")
    text = JOB.format(family="vae", labels="true").replace('labels = ["label", "group"]', f"labels = {labels}")
    (tmp_path / "job.toml").write_text(text)

    with pytest.raises(JobInvalid, match=message):
        train(tmp_path / "job.toml")

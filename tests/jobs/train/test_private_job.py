"""A job with a privacy budget: its card, bundle, samples and refusals, and the results of attacks."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job, read_job
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.bundle_plan import plan_bundle
from aepipe.jobs.train.train import _training_partitions, train, training_key
from aepipe.jobs.train.training_data import encode_rows
from aepipe.jobs.train.training_rows import read_training_rows
from aepipe.quality.alignment import align
from aepipe.quality.membership import membership

JOB = """
name = "visits"
[data]
path = "rows"
[model]
family = "tabular_vae"
units = 64
dropout = 0
[train]
{train}
[calibration]
alpha = 0.05
[run]
device = "cpu"
"""
COLUMNS = 8


def visits(rows: int, seed: int = 0) -> pa.Table:
    """Draw rows with independent columns: any dependence that a model has learned is memorised."""
    codes = np.random.default_rng(seed).integers(0, 12, (rows, COLUMNS))
    return pa.table({f"c{at}": np.array([f"v{code}" for code in column]) for at, column in enumerate(codes.T)})


def written(folder: Path, lines: str, rows: pa.Table) -> Path:
    (folder / "rows").mkdir(parents=True)
    pq.write_table(rows, folder / "rows" / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(JOB.format(train=lines))
    return job


@pytest.mark.slow
def test_attacks_find_members_of_a_model_without_a_budget_and_none_with_one(tmp_path: Path) -> None:
    aurocs = []
    for lines in ("epochs = 150\npatience = 150", "epochs = 5\nepsilon = 1"):
        job = written(tmp_path / str(len(aurocs)), lines, visits(700))
        train(job)
        made = sample(job, rows=4_000, seed=1)
        synthetic = pq.read_table(made.path).select([f"c{at}" for at in range(COLUMNS)])
        others = visits(700, seed=1)
        learned = _training_rows(job)
        columns, (members, fresh, drawn) = align([learned, others, synthetic])
        found = membership(columns, members, fresh, drawn, seed=0)
        assert found is not None
        aurocs.append(found.auroc)

    assert aurocs[0].low > 0.55
    assert aurocs[1].low < 0.55  # noise is secret, so that this differs between runs
    assert aurocs[1].value < aurocs[0].low


def _training_rows(job: Path) -> pa.Table:
    read = read_job(job)
    return read_training_rows(read, _training_partitions(read)).train.select([f"c{at}" for at in range(COLUMNS)])


@pytest.mark.slow
def test_what_is_spent_stands_in_the_card_the_bundle_and_the_page(tmp_path: Path) -> None:
    job = written(tmp_path, "epochs = 2\nepsilon = 2.5", visits(700))
    job.write_text(job.read_text() + "[samples.quality]\ntrees = 1.0\n")

    result = train(job)
    made = sample(job, rows=300, seed=1)

    bundle = Bundle.open(result.bundle)
    assert bundle.manifest.privacy is not None
    epsilon, delta = bundle.manifest.privacy
    assert 2.45 < epsilon <= 2.5
    assert delta == pytest.approx(0.1 / result.rows["train"])
    spent = json.loads((result.bundle / "curve.json").read_text())["privacy"]
    assert spent == bundle.manifest.details["privacy"]
    assert spent["steps"] == 40
    card = (result.bundle / "card.md").read_text()
    assert f"({epsilon:.4g}, {delta:.2g})-differentially private for each training row" in card
    assert bundle.manifest.parts["prior"].inputs[0].row_shape == (4,)  # N(0, I), as the prior of training
    page = (made.report or Path()).read_text()
    assert f"differential privacy of the weights (epsilon {epsilon:.4g}, delta" in page
    assert "no privacy guarantee" not in page

    job.write_text(
        job.read_text().replace("epsilon = 2.5", "") + "[[samples.constraints]]\ncombination = ['c0', 'c1']\n"
    )
    with pytest.raises(OptionInvalid, match="combination reads training rows outside the privacy budget"):
        sample(job, rows=10)


@pytest.mark.parametrize(
    ("model", "train_lines", "expected"),
    [
        ("", "", (128, 64, 0.2)),
        ("", "epsilon = 3", (32, 16, 0.0)),
        ("units = 24\ndropout = 0.1", "epsilon = 3", (24, 16, 0.1)),
    ],
)
def test_a_job_with_a_budget_has_a_smaller_network_unless_it_names_another(
    tmp_path: Path, model: str, train_lines: str, expected: tuple[float, ...]
) -> None:
    job = written(tmp_path, train_lines, visits(200))
    job.write_text(job.read_text().replace("units = 64\ndropout = 0", model))
    read = read_job(job)
    data = encode_rows(read, read_training_rows(read, _training_partitions(read)), as_codes=True)

    found = plan_bundle(read, data, head="nll").model

    assert tuple(found.resolved[name] for name in ("units", "column_units", "dropout")) == expected


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("[train]\nepsilon = 1\ndata = 'polluted'", "does not cover trimmed rows"),
        ("[train]\nepsilon = 1\n[train.search.model]\nlatent = [2, 4]", r"does not cover \[train.search\]"),
        ("[train]\nepsilon = 1\n[samples]\nlabels = true", r"does not cover \[samples\] labels = true"),
        ("[train]\nepsilon = 1\n[score]\nclusters = true", r"does not cover \[score\] clusters = true"),
        (
            "[train]\nepsilon = 1\n[[samples.constraints]]\ncombination = ['c0', 'c1']",
            r"does not cover \[\[samples.constraints\]\] combination",
        ),
        ("[train]\ndelta = 1e-6", "delta = 1e-06 has no effect without train.epsilon"),
        ("[train]\nepsilon = 0", "epsilon"),
    ],
)
def test_a_setting_that_uses_rows_outside_the_budget_is_refused(tmp_path: Path, lines: str, fault: str) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'name = "visits"\n[data]\npath = "rows"\n{lines}\n')

    with pytest.raises(JobInvalid, match=fault):
        read_job(job)


def test_sequences_of_entities_are_refused_unless_the_job_has_independent_rows(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    text = 'name = "visits"\n[data]\npath = "rows"\nentity = ["c0"]\nevent_time = "at"\n[train]\nepsilon = 1\n'
    job.write_text(text)
    with pytest.raises(JobInvalid, match=r"does not cover \[samples\] sequences = true"):
        read_job(job)

    job.write_text(f"{text}[samples]\nsequences = false\n")

    assert read_job(job).train.epsilon == 1


def test_a_job_without_a_budget_has_the_training_key_that_it_had() -> None:
    job = Job.model_validate({"name": "visits", "data": {"path": "rows"}})

    assert "epsilon" not in job.train.model_dump_json()
    assert training_key(job, ()) != training_key(
        job.model_copy(update={"train": job.train.model_copy(update={"epsilon": 1.0})}), ()
    )


def test_a_family_without_losses_of_rows_is_refused(tmp_path: Path) -> None:
    job = written(tmp_path, "epsilon = 1", visits(100))
    job.write_text(job.read_text().replace('family = "tabular_vae"\nunits = 64\ndropout = 0', 'family = "vae"'))

    with pytest.raises(OptionInvalid, match=r"\[train\] epsilon needs a family"):
        train(job)

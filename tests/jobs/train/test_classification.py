"""Open-set classification from end to end: known classes, unknown ones, and refusals."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.errors import EvaluationInvalid, JobInvalid
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

JOB = """name = "shop"

[data]
path = "."
keys = ["id"]
labels = ["kind"]

[model]
family = "pca"
latent = 3

[train]
to = "2026-01-01"
where = "kind != 'hat'"

[calibration]
alpha = 0.05

[score]
classes = "kind"

[samples]
rows = 0

[output]
path = "out"
"""
KINDS = ("bag", "boot", "coat", "hat")
ROWS = 800


def night(seed: int) -> pa.Table:
    """Generate rows of four kinds, each around its own centre; a few labels are null, a few numbers are not finite."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 4, ROWS)
    centres = 6 * np.array([[0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [1, 1, 0, -1, -1]])
    values = centres[kind] + generator.normal(size=(ROWS, 5))
    labels = pa.array([None if row % 50 == 0 else KINDS[each] for row, each in enumerate(kind)])
    columns = {f"c{index}": column for index, column in enumerate(values.T)}
    columns["c0"] = np.where(np.arange(ROWS) % 97 == 1, np.inf, columns["c0"])
    return pa.table({"id": np.arange(ROWS), **columns, "kind": labels.dictionary_encode()})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for day in (1, 2):
        folder = tmp_path / f"dt=2026-01-0{day}"
        folder.mkdir()
        pq.write_table(night(day), folder / "part-0.parquet")
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    return path


@pytest.mark.slow
def test_known_classes_are_predicted_and_others_are_unknown(shop: Path) -> None:
    bundle = Bundle.open(train(shop).bundle)
    score(shop)

    open_set = bundle.manifest.open_set
    assert open_set is not None
    assert open_set.answers == ("bag", "boot", "coat", "unknown")
    assert "of them of no known class" in open_set.sentence
    assert bundle.manifest.metrics["class_accuracy"] > 0.98
    assert bundle.manifest.metrics["unknown_found"] > 0.9
    table = pq.ParquetFile(shop.parent / "out" / "scores" / "dt=2026-01-02" / "part-0.parquet").read()
    truth, predicted = (table[name].cast(pa.string()).to_numpy() for name in ("kind", "predicted_class"))
    scored = table["score"].is_valid().to_numpy()
    assert all(predicted[~scored] == None)  # noqa: E711
    assert table["class_confidence"].is_null().to_numpy()[~scored].all()
    known = scored & np.isin(truth.astype(str), KINDS[:3])
    assert np.mean(predicted[known] == truth[known]) > 0.9
    assert np.mean(predicted[known] == "unknown") < 0.1
    assert np.mean(predicted[scored & (truth == "hat")] == "unknown") > 0.9


@pytest.mark.slow
def test_python_answers_what_the_nights_job_writes(shop: Path) -> None:
    train(shop)
    score(shop)

    answers = aepipe.load(shop.parent / "exported" / "shop").score(night(2))

    written = pq.ParquetFile(shop.parent / "out" / "scores" / "dt=2026-01-02" / "part-0.parquet").read()
    assert pc.all(pc.equal(answers["predicted_class"].cast(pa.string()), written["predicted_class"].cast(pa.string())))


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        (
            'classes = "kind"',
            'classes = "kinds"',
            JobInvalid,
            r"'kinds' is no label of the table; did you mean",
        ),
        (
            "kind != 'hat'",
            "kind = 'bag'",
            EvaluationInvalid,
            r"'kind' has 1 values with 10 training rows or more, 2 to",
        ),
    ],
)
def test_what_holds_no_classes_is_one_sentence_before_training(
    shop: Path, old: str, new: str, error: type[Exception], sentence: str
) -> None:
    shop.write_text(shop.read_text().replace(old, new))

    with pytest.raises(error, match=sentence):
        train(shop)
    assert not Registry(shop.parent / "exported" / "shop").versions()


def test_a_class_called_unknown_is_refused(shop: Path) -> None:
    path = shop.parent / "dt=2026-01-01" / "part-0.parquet"
    table = night(1)
    renamed = pc.replace_substring(table["kind"].cast(pa.string()), "boot", "unknown")
    pq.write_table(table.set_column(table.schema.get_field_index("kind"), "kind", renamed), path)

    with pytest.raises(EvaluationInvalid, match="'kind' has a value 'unknown', the answer for no class"):
        train(shop)

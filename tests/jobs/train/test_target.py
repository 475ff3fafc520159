"""Grey scan in, colour scan out: a job with a target column, from training to the report."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.errors import OptionInvalid
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

JOB = """name = "tint"

[data]
path = "."
partition = "dt"
keys = ["id"]
labels = ["odd"]

[columns]
grey = { kind = "image", shape = [1, 7, 9] }
colour = { kind = "target", shape = [3, 7, 9] }

[model]
family = "ae"
trunk = "TRUNK"
latent = 4

[train]
to = "2026-01-02"
epochs = 12

[calibration]
alpha = 0.05

[score]
from = "2026-01-03"
head = "reconstruction"

[evaluate]
anomaly = "odd"

[output]
exported = "exported"
"""
HEIGHT, WIDTH = 7, 9
TINT = np.array([0.9, 0.6, 0.2])


def tinted(rows: int, seed: int, *, odd: bool = False) -> pa.Table:
    """Generate grey ramps and the same ramps in orange; with `odd`, a tenth is blue instead."""
    generator = np.random.default_rng(seed)
    across, down = np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT)[:, None]
    slopes = generator.random((rows, 3, 1, 1))
    grey = np.clip(slopes[:, 0] * across + slopes[:, 1] * down + 0.2 * slopes[:, 2], 0, 1)
    is_odd = (np.arange(rows) % 10 == 0) & odd
    tints = np.where(is_odd[:, None], TINT[::-1], TINT)
    colour = grey[:, None] * tints[:, :, None, None]
    as_bytes = [(255 * images).astype(np.uint8).reshape(rows, -1) for images in (grey, colour)]
    return pa.table(
        {
            "id": [f"{seed}-{row}" for row in range(rows)],
            "odd": is_odd,
            "grey": pa.array([row.tobytes() for row in as_bytes[0]], pa.binary()),
            "colour": pa.array([row.tobytes() for row in as_bytes[1]], pa.binary()),
        }
    )


def pixels(column: pa.ChunkedArray, channels: int) -> np.ndarray:
    images = [np.frombuffer(one, np.uint8) for one in column.to_pylist()]
    return np.stack(images).reshape(-1, channels, HEIGHT, WIDTH) / 255


@pytest.fixture(scope="module", params=["mlp", pytest.param("conv", marks=pytest.mark.slow)])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(f"tint-{request.param}")
    for day in (1, 2, 3):
        night = folder / f"dt=2026-01-{day:02d}"
        night.mkdir()
        pq.write_table(tinted(250, day, odd=day == 3), night / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(JOB.replace("TRUNK", request.param))
    train(job)
    return job


@pytest.fixture
def job(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.parent, tmp_path / "tint")) / "job.toml"


def test_an_encoder_reads_grey_images_and_a_decoder_outputs_coloured_ones(job: Path) -> None:
    parts = Bundle.open(job.parent / "exported" / "tint").manifest.parts

    assert [(port.name, port.row_shape) for port in parts["encoder"].inputs] == [("image", (1, 7, 9))]
    assert [(port.name, port.row_shape) for port in parts["decoder"].outputs] == [("target", (3, 7, 9))]
    assert [port.name for port in parts["scorer"].inputs] == ["image", "target"]


def test_the_coloured_image_is_rebuilt_from_the_grey_one_alone(job: Path) -> None:
    model = aepipe.load(job.parent / "exported" / "tint")
    rows = tinted(60, 9)
    black = rows.set_column(3, "colour", pa.array([bytes(3 * HEIGHT * WIDTH)] * 60, pa.binary()))

    rebuilt = model.reconstruct(rows)

    wanted = pixels(rows["colour"], 3)
    assert rebuilt.column_names == ["colour"]
    assert np.square(pixels(rebuilt["colour"], 3) - wanted).mean() < 0.1 * wanted.var()
    assert model.reconstruct(black).equals(rebuilt)
    assert model.encode(black).equals(model.encode(rows))


def test_a_wrong_colour_is_anomalous_and_a_right_one_is_not(job: Path) -> None:
    score(job)

    outputs = list((job.parent / "out" / "tint" / "scores").rglob("*.parquet"))
    scored = pa.concat_tables([pq.read_table(path, partitioning=None) for path in outputs])
    odd = scored["odd"].to_numpy()
    assert scored["is_anomaly"].to_numpy()[odd].all()
    assert scored["is_anomaly"].to_numpy()[~odd].mean() < 0.15


def test_a_row_without_its_target_cannot_be_scored_and_says_so(job: Path) -> None:
    rows = tinted(4, 9)
    colours = rows["colour"].to_pylist()
    gap = rows.set_column(3, "colour", pa.array([None, *colours[1:]], pa.binary()))

    answers = aepipe.load(job.parent / "exported" / "tint").score(gap)

    assert answers["invalid_reason"].to_pylist() == ["colour is missing", None, None, None]


def test_samples_hold_coloured_images_and_no_grey_ones(job: Path) -> None:
    drawn = pq.read_table(sample(job, rows=40, partition="dt=2026-02-01").path, partitioning=None)

    assert drawn["grey"].null_count == 40
    colours = pixels(drawn["colour"], 3)
    assert colours[:, 0].mean() > colours[:, 2].mean() + 0.1


@pytest.mark.parametrize("trained", ["conv"], indirect=True)
@pytest.mark.slow
def test_the_page_shows_the_coloured_images(job: Path) -> None:
    score(job)
    sample(job, rows=16, partition="dt=2026-02-01")

    text = report(job).path.read_text()

    assert "data:image/png" in text
    assert "PCA reconstruction" in text


def test_principal_components_refuse_a_target_in_a_sentence(job: Path) -> None:
    text = job.read_text().replace('family = "ae"', 'family = "pca"')
    job.write_text("\n".join(line for line in text.splitlines() if not line.startswith("trunk")))

    with pytest.raises(OptionInvalid, match="'pca' cannot reconstruct a target column"):
        train(job)

"""Draw the pictures of the README from the outputs of `make demo`: `python docs/pictures.py`."""

import io
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq

from aepipe.config.job import read_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.row_images import drawn_images
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.storage import put_bytes

DOCS = Path(__file__).parent
DATA = DOCS.parent / "data"
BLUE, RED, GREY = "#3b6ea8", "#c23b22", "#888888"
MOST_UNUSUAL = 12


def draw_nights() -> plt.Figure:
    """Draw the share of flagged flights of each night of February."""
    scored = ScoredPartitions(read_job(DATA / "flights" / "job.toml"), _model("flights"))
    alpha = scored.model.bundle.calibration.alpha
    nights = [scored.result(manifest) for manifest in scored.manifests]
    shares = np.array([night.flagged / night.scored for night in nights])
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    axes.bar(range(len(nights)), 100 * shares, color=np.where(shares > 3 * alpha, RED, BLUE))
    axes.axhline(100 * alpha, color=GREY, linestyle="--", linewidth=1)
    axes.annotate("alpha", (-0.8, 100 * alpha), color=GREY, va="bottom", ha="left")
    axes.set_xticks(range(len(nights)), [night.partition[-2:] for night in nights])
    axes.set(xlabel="February 2013", ylabel="flagged flights, %", title="The blizzard of 8 and 9 February")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_digits() -> plt.Figure:
    """Draw the scans with the highest scores above their reconstructions; the model has never seen a nine."""
    job = read_job(DATA / "digits" / "job.toml")
    scored = ScoredPartitions(job, _model("digits"))
    tables = [(scored.scores(manifest), manifest) for manifest in scored.manifests]
    ranked = sorted(((-value, at, row) for at, (values, _) in enumerate(tables) for row, value in enumerate(values)))
    figure, axes = plt.subplots(2, MOST_UNUSUAL, figsize=(8, 1.8), layout="constrained")
    for column, (_, at, row) in enumerate(ranked[:MOST_UNUSUAL]):
        path = next(iter(tables[at][1].details.inputs))
        source = pq.read_table(path, partitioning=None).slice(row, 1)
        for line, table in zip(axes[:, column], (source, scored.model.reconstruct(source)), strict=True):
            line.imshow(drawn_images(scored.model.bundle.encoding, table)[0, 0], cmap="gray_r")
            line.set(xticks=[], yticks=[])
        axes[0, column].set_title(str(source["digit"][0].as_py()), fontsize=9)
    axes[0, 0].set_ylabel("scan", fontsize=8)
    axes[1, 0].set_ylabel("expected", fontsize=8)
    return figure


def _model(name: str) -> TableModel:
    return open_model(read_job(DATA / name / "job.toml"), "champion")


def main() -> None:
    """Write docs/flights.png and docs/digits.png."""
    plt.switch_backend("Agg")
    for name, draw in {"flights": draw_nights, "digits": draw_digits}.items():
        if not (DATA / name / "out" / "scores").is_dir():
            sys.exit(f"error: {DATA / name / 'out'} has no scores. Run: make demo")
        picture = io.BytesIO()
        draw().savefig(picture, format="png", dpi=110, metadata={"Software": None})
        put_bytes(DOCS / f"{name}.png", picture.getvalue())


if __name__ == "__main__":
    main()

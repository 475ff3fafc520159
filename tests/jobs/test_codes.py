"""A model whose latents are codes, from a job to features, samples and a report."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from tests.conftest import make_example

NIGHT = "dt=2026-01-07"
KINDS = {
    "digits": ('family = "vae"\ntrunk = "conv"\nlatent = 16\n', 'family = "vq_vae"\ntrunk = "conv"\n', 16, 32),
    "cells": ('family = "ae"\ntrunk = "mlp"\nlatent = 8\n', 'family = "vq_vae"\ncodes = 6\ncode_width = 3\n', 6, 18),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.slow
def test_codes_go_all_the_way(name: str, tmp_path: Path) -> None:
    old, new, codes, pooled = KINDS[name]
    job = make_example(tmp_path / name, name)
    text = job.read_text()
    assert old in text
    text = text.replace('[evaluate]\nanomaly = "digit = 9"\n', "")  # only cells are compared with baselines
    job.write_text(text.replace(old, f"{new}codebook = 32\n"))

    bundle = Bundle.open(train(job).bundle)
    score(job)
    drawn = pq.read_table(sample(job, rows=40, seed=1, partition="dt=2026-02-01").path, partitioning=None)
    again = pq.read_table(sample(job, rows=20, seed=1, partition="dt=2026-02-02").path, partitioning=None)
    page = report(job).path.read_text()

    assert set(bundle.manifest.parts) == {"encoder", "decoder", "sampler", "scorer", "prior", "code_prior"}
    assert bundle.manifest.latent.kind == "code"
    assert 1 < bundle.manifest.metrics["perplexity"] <= 32
    features = pq.read_table(job.parent / "out" / "features" / NIGHT / "part-0.parquet", partitioning=None)
    assert [features[f"c_{index:03d}"].type for index in range(codes)] == [pa.int32()] * codes
    assert [features[f"z_{index:03d}"].type for index in range(pooled)] == [pa.float32()] * pooled
    assert f"z_{pooled:03d}" not in features.column_names
    values = np.column_stack([features[f"c_{index:03d}"].to_numpy() for index in range(codes)])
    assert 0 <= values.min() < values.max() < 32
    assert drawn.num_rows == 40
    assert drawn.slice(0, 20).equals(again)
    assert "principal axis" in page

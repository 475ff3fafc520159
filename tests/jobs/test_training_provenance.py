"""The job that a bundle records as its training."""

from pathlib import Path

import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import read_job
from aepipe.errors import BundleCorrupt
from aepipe.jobs.training_provenance import as_trained
from tests.support.two_models import write_job


def test_a_manifest_without_its_job_is_named(tmp_path: Path) -> None:
    job = read_job(write_job(tmp_path))
    bundle = Bundle.open(tmp_path / "exported" / "linear")

    with pytest.raises(BundleCorrupt, match=r"does not say which data trained it\. Train again: aepipe train .*job"):
        as_trained(bundle, job)

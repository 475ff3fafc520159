"""Check of the golden rows: a bundle with other outputs than at export is refused."""

from pathlib import Path

import pytest

from aepipe.errors import BundleCorrupt
from aepipe.inference.golden_check import check_golden
from aepipe.inference.session import Session
from tests.support.linear_bundle import make_bundle, numbers


def test_a_bundle_that_reproduces_its_golden_rows_passes(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, numbers(100), data={"keys": ["id"]})

    check_golden(bundle)
    check_golden(bundle, Session(bundle.part("scorer")[0], device="cpu"))


def test_a_different_output_is_reported_with_its_row(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, numbers(100), data={"keys": ["id"]}, shift=0.05)

    with pytest.raises(
        BundleCorrupt, match=r"expected score [\d.]+ for golden row \d, got [\d.]+\. Restore the bundle"
    ):
        check_golden(bundle)

"""Reference distributions: binned columns, and counts of later values."""

import numpy as np
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import MOST_CODES, DriftReference, ReferenceStream, read_drift_reference
from aepipe.config.drift import Drift
from aepipe.metrics.drift import PartitionSpread


def test_bins_hold_equal_shares_and_missing_values_have_their_own() -> None:
    values = np.concatenate([np.arange(3_200.0), np.full(100, np.nan)])

    stream = ReferenceStream.fit("amount", "column", values)

    assert stream.counts[0] == 100
    assert len(stream.counts) == 33
    assert set(stream.counts[1:]) <= {99, 100, 101}
    assert stream.count(values).tolist() == list(stream.counts)
    assert stream.count(np.array([-1e9, 1e9, np.nan, np.inf]))[[0, 1, -1]].tolist() == [1, 1, 2]


def test_codes_are_counted_and_high_ones_share_the_last_bin() -> None:
    stream = ReferenceStream.fit("shop", "column", np.array([0, 3, 3, 4], np.int32))

    assert stream.counts[:5] == (1, 0, 0, 2, 1)
    assert stream.count(np.array([MOST_CODES + 7], np.int32))[-1] == 1


def test_a_constant_or_empty_column_has_a_reference() -> None:
    constant = ReferenceStream.fit("a", "column", np.ones(10))
    missing = ReferenceStream.fit("b", "column", np.full(10, np.nan))

    assert constant.count(np.array([1.0, 2.0, 0.0])).tolist() == [0, 2, 1]
    assert missing.count(np.array([np.nan, 2.0])).tolist() == [1, 1]


def test_the_spread_of_partitions_is_that_of_their_counts() -> None:
    generator = np.random.default_rng(0)
    partitions = np.sort(generator.integers(0, 6, 3_000)).astype(np.int32) * 7
    values = generator.normal(0.3 * partitions, size=3_000)
    order = generator.permutation(3_000)

    stream = ReferenceStream.fit("a", "column", values[order], partitions[order])

    by_hand = [stream.count(values[partitions == number]) for number in range(0, 42, 7)]
    assert stream.spread == PartitionSpread.fit(np.stack(by_hand))
    assert stream.spread is not None
    assert ReferenceStream.fit("a", "column", values).spread is None


def test_a_bundle_without_a_reference_has_none(linear: Bundle) -> None:
    assert read_drift_reference(linear) is None


def test_a_reference_survives_its_file() -> None:
    reference = DriftReference(streams=(ReferenceStream.fit("a", "column", np.random.default_rng(0).normal(size=500)),))

    assert DriftReference.model_validate_json(reference.to_json()) == reference


def test_a_trained_bundle_describes_columns_scores_and_latents(trained_cells) -> None:  # type: ignore[no-untyped-def]
    bundle = Bundle.open(trained_cells / "exported" / "cells")

    reference = read_drift_reference(bundle)

    assert reference is not None
    names = {kind: [s.name for s in reference.streams if s.kind == kind] for kind in ("column", "score", "latent")}
    assert len(names["column"]) == 30
    assert names["score"] == ["score"]
    assert names["latent"] == list(bundle.manifest.latent.names)
    rows = bundle.manifest.rows
    assert {sum(s.counts) for s in reference.streams if s.kind == "column"} == {rows["train"] + rows["calibration"]}
    assert {sum(s.counts) for s in reference.streams if s.kind != "column"} == {rows["calibration"]}


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(0, np.int32)])
def test_no_values_give_zero_counts(values: np.ndarray) -> None:
    assert sum(ReferenceStream.fit("a", "column", values).counts) == 0


@pytest.mark.parametrize("codes", [False, True])
def test_a_column_that_older_partitions_lack_is_described_by_the_others(codes: bool) -> None:
    partitions = np.repeat(np.arange(12, dtype=np.int32), 100)
    drawn = np.random.default_rng(0).integers(3, 9, 1_200)
    values = np.where(partitions < 8, 0, drawn).astype(np.int32) if codes else np.where(partitions < 8, np.nan, drawn)

    stream = ReferenceStream.fit("terminal", "column", values, partitions)

    assert stream == ReferenceStream.fit("terminal", "column", values[800:], partitions[800:])
    assert stream.counts[0] == 0
    assert sum(stream.counts) == 400


def test_the_window_of_the_job_says_how_many_partitions_a_reference_keeps_after_a_change() -> None:
    partitions = np.repeat(np.arange(60, dtype=np.int32), 100)
    values = np.random.default_rng(0).normal(size=6_000) + np.where(partitions < 30, 0.0, 2.0)

    for settings, nights in ((None, 28), (Drift(window=0), 28), (Drift(window=12), 24)):
        kept = ReferenceStream.fit("a", "column", values, partitions, settings=settings)

        assert sum(kept.counts) == 100 * nights
        assert kept == ReferenceStream.fit("a", "column", values[-100 * nights :], partitions[-100 * nights :])

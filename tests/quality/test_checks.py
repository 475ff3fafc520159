"""Quality checks: measures compared with thresholds."""

from dataclasses import replace

import numpy as np
import pytest

from aepipe.config.sample_requirements import Quality
from aepipe.metrics.ranking import Interval
from aepipe.quality.checks import CheckReport, Measures, RealBaseline, information_check, run_checks
from aepipe.quality.classifier_two_sample import TwoSample
from aepipe.quality.column_moments import ColumnMoments, moment_error, moments_of
from aepipe.quality.column_pair_trends import Trends
from aepipe.quality.distance_to_closest import Closeness
from aepipe.quality.exact_copies import Copies
from aepipe.quality.membership import Attack, Membership
from aepipe.quality.near_copies import NearCopies
from aepipe.quality.tstr import Downstream

MEASURES = Measures(
    Copies(share=0.002, held_out=0.001, bound=0.0025, rows=1_000, held_out_rows=4_000),
    Closeness(share=0.57, low=0.47, high=0.53, rows=1_000, held_out_rows=4_000),
    two_sample=TwoSample(Interval(0.7, 0.68, 0.72), Interval(0.52, 0.5, 0.54), 1_000),
    downstream=Downstream("income", "AUROC", Interval(0.92, 0.91, 0.93), Interval(0.9, 0.89, 0.91), 5_000),
)


def results(report: CheckReport) -> dict[str, bool | None]:
    return {check.key: check.is_met for check in report.checks}


def test_copies_and_closeness_have_default_thresholds_and_others_are_reported() -> None:
    found = run_checks(MEASURES, Quality())

    assert results(found) == {"copies": True, "closeness": False, "trees": None, "logistic": None, "loss": None}
    assert found.failed_checks == ("share closer to training than to held-out rows is 0.57: expected 0.45 to 0.55",)
    assert found.values["loss"] == pytest.approx(0.02)


def test_value_at_threshold_or_within_chance_passes() -> None:
    chance = MEASURES._replace(closeness=replace(MEASURES.closeness, low=0.42, high=0.58))

    found = run_checks(chance, Quality(trees=0.7, logistic=0.51, loss=0.03))

    assert results(found) == {"copies": True, "closeness": True, "trees": True, "logistic": False, "loss": True}
    assert found.failed_checks == ("AUROC of logistic regression is 0.52: expected at most 0.51",)


def test_a_model_of_texts_whose_latents_are_unused_is_a_fault() -> None:
    found = information_check(0.02, Quality())

    assert found.is_met is False
    assert found.sentence == "mutual information of rows and latents is 0.02: expected at least 0.1"
    assert information_check(2.0, Quality()).is_met is True
    assert information_check(2.0, Quality(latents=3.0)).is_met is False
    assert information_check(0.02, Quality(latents=None)).is_met is None


def test_closeness_of_rows_split_by_time_is_checked_only_if_set() -> None:
    by_time = MEASURES._replace(is_exchangeable=False)

    assert results(run_checks(by_time, Quality()))["closeness"] is None
    assert results(run_checks(by_time, Quality(closeness=0.05)))["closeness"] is False


def test_unmeasured_value_fails_its_threshold_and_thresholds_can_be_disabled() -> None:
    found = run_checks(MEASURES._replace(why="there are 20 rows"), Quality(coverage=0.5, copies=False, closeness=None))

    assert results(found)["copies"] is None
    assert found.failed_checks == (
        "coverage of neighbourhoods cannot be measured (there are 20 rows): expected at least 0.5",
    )


WEAK = MEASURES._replace(
    closeness=replace(MEASURES.closeness, share=0.5),
    two_sample=TwoSample(Interval(0.9, 0.88, 0.92), Interval(0.52, 0.5, 0.54), 1_000),
    trends=Trends(("a", "b"), np.array([[1.0, 0.9], [0.9, 1.0]])),
    moments=(
        ColumnMoments("a", moments_of(np.arange(9.0)), moments_of(np.arange(9.0)), 0.0),
        ColumnMoments("b", moments_of(np.arange(9.0)), moments_of(np.arange(9.0)), 0.3),
    ),
    real_baseline=RealBaseline(trends=0.98, rows=2_500),
)


def test_default_thresholds_apply_if_asked_and_the_job_sets_none_on_distributions() -> None:
    found = run_checks(WEAK, Quality(closeness=0.04), has_defaults=True)

    assert found.failed_checks == (
        "similarity of column pairs is 0.9: expected at least 0.95 (default)",
        "AUROC of boosted trees is 0.9: expected at most 0.85 (default)",
        "error of moments is 0.3: expected at most 0.25 (default)",
    )
    assert run_checks(WEAK, Quality()).failed_checks == ()
    assert run_checks(WEAK, Quality(logistic=0.9), has_defaults=True).failed_checks == ()
    assert run_checks(MEASURES, Quality(closeness=None), has_defaults=True).failed_checks == ()


def test_default_threshold_of_trees_rises_with_the_drift_of_real_rows() -> None:
    drifting = WEAK._replace(real_baseline=RealBaseline(trends=0.9, trees=0.8, rows=2_500), moments=())

    assert run_checks(drifting, Quality(), has_defaults=True).failed_checks == ()


def test_near_copies_have_a_default_threshold() -> None:
    near = MEASURES._replace(near_copies=NearCopies(0.06, 0.0, 0.02, 1.0, 1_000, 5_000))

    assert "share of near copies is 0.06: expected at most 0.02" in run_checks(near, Quality()).failed_checks
    assert results(run_checks(near, Quality(near_copies=False)))["near_copies"] is None


def test_lower_end_of_the_attacks_is_compared_with_its_threshold() -> None:
    weak = Attack("distance ratio", Interval(0.63, 0.59, 0.67), Interval(0.05, 0.02, 0.08))
    strong = Attack("density ratio", Interval(0.63, 0.61, 0.65), Interval(0.06, 0.04, 0.08))
    measures = MEASURES._replace(closeness=replace(MEASURES.closeness, share=0.5))

    chance = run_checks(measures._replace(membership=Membership((weak,), 500, 500, 900)), Quality())
    found = run_checks(measures._replace(membership=Membership((weak, strong), 500, 500, 900)), Quality())
    by_time = measures._replace(membership=Membership((strong,), 500, 500, 900), is_exchangeable=False)

    assert chance.failed_checks == ()
    assert found.failed_checks == (
        "AUROC of membership inference is 0.63: expected at most 0.6",
        "share of training rows found at 1 % false positives is 0.06: expected at most 0.03",
    )
    assert run_checks(by_time, Quality()).failed_checks == ()
    assert len(run_checks(by_time, Quality(membership=0.6)).failed_checks) == 1


def test_threshold_on_loss_names_why_it_is_not_measured() -> None:
    one = MEASURES._replace(downstream=None, why_no_loss="'kind' has 1 value in the held-out rows")

    assert run_checks(one, Quality(loss=0.1, closeness=None)).failed_checks == (
        "TSTR loss cannot be measured ('kind' has 1 value in the held-out rows): expected at most 0.1",
    )


def test_error_of_moments_is_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal(4_000)

    assert moment_error(rng.standard_normal(1_000), real) == 0.0
    shift, noise = 1.0, 4 * np.sqrt(1 / 4_000 + 1 / 4_000)
    assert moment_error(real * 1.0 + shift * real.std(), real) == pytest.approx(shift - noise)
    noise *= np.sqrt((((real - real.mean()) ** 4).mean() / real.std() ** 4 - 1) / 4)
    assert moment_error(real * 2, real) == pytest.approx(np.log(2) - noise, rel=1e-6)
    assert np.isnan(moment_error(real, np.ones(10)))


def test_digest_of_a_job_does_not_change_by_new_keys() -> None:
    assert "near_copies" not in Quality().model_dump()
    assert set(Quality(moments=0.1, near_copies=False, defaults=True).model_dump()) - set(Quality().model_dump()) == {
        "moments",
        "near_copies",
        "defaults",
    }


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**1000])
def test_moments_and_their_error_do_not_depend_on_the_unit(scale: float) -> None:
    generator = np.random.default_rng(0)
    synthetic, real = generator.normal(size=500), generator.normal(0.5, size=700)

    found = moments_of(synthetic * scale)

    expected = moments_of(synthetic)
    assert (found.mean, found.deviation) == (expected.mean * scale, expected.deviation * scale)
    assert found.quantiles == tuple(quantile * scale for quantile in expected.quantiles)
    assert moment_error(synthetic * scale, real * scale) == moment_error(synthetic, real) > 0

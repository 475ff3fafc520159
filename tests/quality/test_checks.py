"""Quality checks: measures compared with thresholds."""

from dataclasses import replace

import pytest

from aepipe.config.sample_requirements import Quality
from aepipe.metrics.ranking import Interval
from aepipe.quality.checks import CheckReport, Measures, run_checks
from aepipe.quality.classifier_two_sample import TwoSample
from aepipe.quality.distance_to_closest import Closeness
from aepipe.quality.exact_copies import Copies
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

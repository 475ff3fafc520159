"""What bars make of measures."""

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


def verdicts(report: CheckReport) -> dict[str, bool | None]:
    return {check.key: check.is_met for check in report.checks}


def test_copies_and_closeness_have_bars_by_themselves_and_the_rest_is_reported() -> None:
    found = run_checks(MEASURES, Quality())

    assert verdicts(found) == {"copies": True, "closeness": False, "trees": None, "logistic": None, "loss": None}
    assert found.failed_checks == (
        "share closer to training than to held-out rows is 0.57, and the job asks for 0.45 to 0.55",
    )
    assert found.values["loss"] == pytest.approx(0.02)


def test_a_bar_is_met_on_its_very_edge_and_chance_is_no_fault() -> None:
    chance = MEASURES._replace(closeness=MEASURES.closeness._replace(low=0.42, high=0.58))

    found = run_checks(chance, Quality(trees=0.7, logistic=0.51, loss=0.03))

    assert verdicts(found) == {"copies": True, "closeness": True, "trees": True, "logistic": False, "loss": True}
    assert found.failed_checks == ("AUROC of logistic regression is 0.52, and the job asks for at most 0.51",)


def test_rows_split_by_time_are_held_to_closeness_only_where_the_job_says_so() -> None:
    by_time = MEASURES._replace(is_exchangeable=False)

    assert verdicts(run_checks(by_time, Quality()))["closeness"] is None
    assert verdicts(run_checks(by_time, Quality(closeness=0.05)))["closeness"] is False


def test_a_bar_on_what_was_not_measured_is_missed_and_a_job_may_do_without_any() -> None:
    found = run_checks(MEASURES._replace(why="there are 20 rows"), Quality(coverage=0.5, copies=False, closeness=None))

    assert verdicts(found)["copies"] is None
    assert found.failed_checks == (
        "coverage of neighbourhoods cannot be measured (there are 20 rows), and the job asks for at least 0.5",
    )

"""Quality checks: compare each measure of a sample set with its threshold."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from aepipe.config.sample_requirements import Quality
from aepipe.metrics.ranking import Interval
from aepipe.quality.classifier_two_sample import TwoSample
from aepipe.quality.column_moments import ColumnMoments
from aepipe.quality.column_pair_trends import Trends
from aepipe.quality.column_shapes import Shapes
from aepipe.quality.coverage import Coverage
from aepipe.quality.distance_to_closest import Closeness
from aepipe.quality.exact_copies import Copies
from aepipe.quality.membership import Membership
from aepipe.quality.near_copies import NearCopies
from aepipe.quality.tstr import Downstream


@dataclass(frozen=True, slots=True)
class Check:
    """Measured value and its threshold.

    key: name of the threshold in the job. low, high: interval of the value; None if unknown. real: value of the same
    number of real rows. threshold: in words; empty if there is none. is_met: None if there is no threshold.
    """

    key: str
    title: str
    value: float
    low: float | None = None
    high: float | None = None
    real: float | None = None
    threshold: str = ""
    is_met: bool | None = None
    note: str = ""

    @property
    def sentence(self) -> str:
        """Description of a failed check."""
        if not math.isfinite(self.value):
            return f"{self.title} cannot be measured ({self.note}): expected {self.threshold}"
        return f"{self.title} is {self.value:.3g}: expected {self.threshold}"


class Measures(NamedTuple):
    """Measures of a sample set; None if not measured, for the reason in `why`."""

    copies: Copies
    closeness: Closeness
    shapes: Shapes | None = None
    near_copies: NearCopies | None = None
    membership: Membership | None = None
    trends: Trends | None = None
    two_sample: TwoSample | None = None
    coverage: Coverage | None = None
    downstream: Downstream | None = None
    frechet: float | None = None
    real_baseline: "RealBaseline | None" = None
    moments: tuple[ColumnMoments, ...] = ()
    is_exchangeable: bool = True  # training and held-out rows come from the same period
    why: str = "too few rows"
    why_no_loss: str = ""  # empty: as `why`

    @property
    def moment_error(self) -> tuple[str, float] | None:
        """Number with the largest error of its moments, and the error; None if there is none."""
        known = [(each.name, each.error) for each in self.moments if math.isfinite(each.error)]
        return max(known, key=lambda each: each[1], default=None)


class RealBaseline(NamedTuple):
    """Measures of training rows in place of synthetic ones; None if not measured."""

    shapes: float | None = None
    trends: float | None = None
    frechet: float | None = None
    pairs: Trends | None = None
    trees: float = 0.5
    rows: int = 1
    """Rows of the smaller side, held-out or synthetic; entities where rows come in sequences."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Results of all checks, and the measures that they use."""

    checks: tuple[Check, ...]
    measures: Measures

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """One sentence per failed check."""
        return tuple(check.sentence for check in self.checks if check.is_met is False)

    @property
    def values(self) -> dict[str, float]:
        """Measured values, by the key of their check."""
        return {check.key: check.value for check in self.checks if math.isfinite(check.value)}


def run_checks(measures: Measures, thresholds: Quality, *, has_defaults: bool = False) -> CheckReport:
    """Run all checks of a job on the measures of a sample set.

    Args:
        measures: Measures of the set.
        thresholds: Thresholds of the job.
        has_defaults: Apply default thresholds of measured distributions if the job sets no threshold on any.
    """
    real, two_sample, coverage = measures.real_baseline or RealBaseline(), measures.two_sample, measures.coverage
    shapes = None if measures.shapes is None else measures.shapes.score
    trends = None if measures.trends is None else measures.trends.score
    worst = measures.moment_error
    moments = None if worst is None else worst[1]
    usual: dict[str, float] = {}
    if has_defaults and not thresholds.names_distributions and two_sample is not None:
        usual = _default_thresholds(real, has_trends=trends is not None, has_moments=moments is not None)
        thresholds = thresholds.model_copy(update=usual)
    found = (
        _copies(measures.copies, thresholds),
        *_near_copies(measures.near_copies, thresholds),
        _closeness(measures, thresholds),
        *_membership(measures, thresholds),
        _at_least("shapes", "similarity of columns", shapes, thresholds.shapes, real.shapes),
        _at_least("trends", "similarity of column pairs", trends, thresholds.trends, real.trends),
        _at_most("trees", "AUROC of boosted trees", two_sample and two_sample.trees, thresholds.trees, real.trees),
        _at_most(
            "logistic", "AUROC of logistic regression", two_sample and two_sample.logistic, thresholds.logistic, 0.5
        ),
        _at_least(
            "coverage",
            "coverage of neighbourhoods",
            coverage and coverage.neighbourhoods,
            thresholds.coverage,
            coverage and coverage.expected,
        ),
        replace(
            _at_most("moments", "error of moments", moments, thresholds.moments, 0.0),
            note="" if worst is None else f"largest, of {worst[0]}; beyond four standard errors",
        ),
        _loss(measures, thresholds),
        _at_most("frechet", "Frechet distance", measures.frechet, thresholds.frechet, real.frechet),
    )
    explained = (
        check if math.isfinite(check.value) else replace(check, note=check.note or measures.why) for check in found
    )
    marked = (
        replace(check, threshold=f"{check.threshold} (default)") if check.key in usual else check for check in explained
    )
    kept = (check for check in marked if math.isfinite(check.value) or check.is_met is False)
    return CheckReport(tuple(kept), measures)


def _default_thresholds(real: RealBaseline, *, has_trends: bool, has_moments: bool) -> dict[str, float]:
    """Derive the default thresholds from what real rows reach: a model of one epoch misses one on most tables."""
    found = {"trees": 1 - 0.3 * (1 - real.trees)}
    if has_trends and real.trends is not None and math.isfinite(real.trends):
        # 0.5 / sqrt(rows) exceeds every difference between sets of 50 to 1,600 real rows of four tables
        found["trends"] = real.trends - 0.02 - 0.5 / math.sqrt(real.rows)
    return found | ({"moments": 0.25} if has_moments else {})


def _copies(copies: Copies, thresholds: Quality) -> Check:
    return Check(
        "copies",
        "share of exact copies",
        copies.share,
        real=copies.held_out,
        threshold=f"at most {copies.bound:.3g}" if thresholds.copies else "",
        is_met=copies.is_within if thresholds.copies else None,
        note=f"{copies.rows:,} rows; the threshold is the upper 99 % bound of the share among {copies.held_out_rows:,} "
        "held-out rows",
    )


def _near_copies(near: NearCopies | None, thresholds: Quality) -> tuple[Check, ...]:
    if near is None:
        return ()
    check = Check(
        "near_copies",
        "share of near copies",
        near.share,
        real=near.real,
        threshold=f"at most {near.bound:.3g}" if thresholds.near_copies else "",
        is_met=near.is_within if thresholds.near_copies else None,
        note=f"{near.rows:,} rows, within {near.tolerance:g} x the precision of each column; the threshold is 0.02 "
        f"above 1.25 times the upper 99.99 % bound of the share among {near.real_rows:,} real rows",
    )
    return (check,)


def _closeness(measures: Measures, thresholds: Quality) -> Check:
    found, tolerance = measures.closeness, thresholds.closeness
    is_set = tolerance is not None and (measures.is_exchangeable or "closeness" in thresholds.model_fields_set)
    note = f"{found.rows:,} rows, {found.held_out_rows:,} rows of either side; the interval is that of chance alone"
    if not measures.is_exchangeable:
        note += "; rows are split by time, so drift between the periods resembles memorization"
    return Check(
        "closeness",
        "share closer to training than to held-out rows",
        found.share,
        found.low,
        found.high,
        real=0.5,
        threshold=f"{0.5 - tolerance:.3g} to {0.5 + tolerance:.3g}" if is_set and tolerance is not None else "",
        is_met=found.is_within(tolerance) if is_set and tolerance is not None else None,
        note=note,
    )


def _membership(measures: Measures, thresholds: Quality) -> tuple[Check, ...]:
    found = measures.membership
    if found is None:
        return ()
    note = (
        f"strongest of {len(found.attacks)} attacks on {found.targets:,} training and {found.targets:,} held-out rows, "
        f"with {found.synthetic:,} synthetic rows"
    )
    if not measures.is_exchangeable:
        note += "; rows are split by time, so drift between the periods resembles memorization"
    checks = []
    for key, title, interval, real in (
        ("membership", "AUROC of membership inference", found.auroc, 0.5),
        ("exposed", "share of training rows found at 1 % false positives", found.found, 0.01),
    ):
        threshold: float | None = getattr(thresholds, key)
        if not measures.is_exchangeable and key not in thresholds.model_fields_set:
            threshold = None
        check = _at_most(key, title, interval, threshold, real)
        is_met = None if threshold is None else interval.low <= threshold
        checks.append(replace(check, is_met=is_met, note=note))
    return tuple(checks)


def _at_least(key: str, title: str, value: float | None, threshold: float | None, real: float | None) -> Check:
    known = float("nan") if value is None else value
    return Check(
        key,
        title,
        known,
        real=real,
        threshold="" if threshold is None else f"at least {threshold:.4g}",
        is_met=None if threshold is None else known >= threshold,
    )


def _at_most(
    key: str, title: str, value: float | Interval | None, threshold: float | None, real: float | None
) -> Check:
    interval = value if isinstance(value, Interval) else None
    known = float("nan") if value is None else value.value if isinstance(value, Interval) else value
    return Check(
        key,
        title,
        known,
        interval.low if interval else None,
        interval.high if interval else None,
        real=real,
        threshold="" if threshold is None else f"at most {threshold:.4g}",
        is_met=None if threshold is None else known <= threshold,
    )


def information_check(nats: float, thresholds: Quality) -> Check:
    """Compare the mutual information of rows and latents, in nats, with its threshold."""
    note = "texts of a collapsed model do not depend on the other columns of their row"
    found = _at_least("latents", "mutual information of rows and latents", nats, thresholds.latents, None)
    return replace(found, note=note)


def _loss(measures: Measures, thresholds: Quality) -> Check:
    downstream = measures.downstream
    if downstream is None:
        return replace(_at_most("loss", "TSTR loss", None, thresholds.loss, 0.0), note=measures.why_no_loss)
    found = _at_most(
        "loss", f"TSTR loss in {downstream.measure} of {downstream.column}", downstream.lost, thresholds.loss, 0.0
    )
    real, drawn = downstream.from_real, downstream.from_synthetic
    return replace(
        found,
        note=f"{downstream.measure} {drawn.value:.3f} ({drawn.low:.3f} to {drawn.high:.3f}) from synthetic rows, "
        f"{real.value:.3f} ({real.low:.3f} to {real.high:.3f}) from {downstream.rows:,} real ones",
    )

"""Checks of `[promotion]` that a challenger must pass."""

from collections.abc import Iterator

from aepipe.config.job import Job
from aepipe.config.promotion import Promotion
from aepipe.jobs.promotion.comparison import Comparison
from aepipe.jobs.results import Result


class PromotionCheck(Result):
    """One check: the limit, the measured value, and whether it is met; None: not applicable, with the reason."""

    name: str
    limit: float
    value: float | None
    passed: bool | None
    note: str = ""


def check_promotion(job: Job, found: Comparison) -> tuple[PromotionCheck, ...]:
    """Compare the figures of the challenger with the limits of `[promotion]`; limits that are not set are left out."""
    return tuple(_checks(job.promotion, job.score.max_invalid_share, found))


def _checks(limits: Promotion, max_invalid_share: float, found: Comparison) -> Iterator[PromotionCheck]:
    old, new = found.champion, found.challenger
    rows = sum(night.rows for night in found.partitions)
    yield _least("rows", limits.min_rows, found.rows)
    yield _most("share of rows that cannot be scored", max_invalid_share, new.invalid / rows)
    if limits.max_alarm_ratio is not None:
        usual = max(old.alarm_rate, new.alpha)
        yield _most(
            "alarm rate, as a multiple of the champion's or of alpha", limits.max_alarm_ratio, new.alarm_rate / usual
        )
    if limits.min_rank_correlation is not None and (old.labels is None or new.labels is None):
        yield _least("rank correlation", limits.min_rank_correlation, found.rank_correlation, "all scores are equal")
    if limits.min_agreement is not None:
        yield _least("agreement of alarms", limits.min_agreement, found.agreement, "no row is flagged")
    if limits.max_auroc_drop is not None:
        drop = None if old.labels is None or new.labels is None else old.labels.auroc.value - new.labels.auroc.value
        yield _most("decrease of the AUROC", limits.max_auroc_drop, drop, "no labels of both classes")
    if limits.max_cost_increase is not None:
        yield _most("increase of the expected cost", limits.max_cost_increase, _increase(found), "no expected cost")
    if limits.min_speed_ratio is not None:
        yield _least(
            "rows per second, as a multiple of the champion's", limits.min_speed_ratio, new.rows_per_s / old.rows_per_s
        )


def _increase(found: Comparison) -> float | None:
    if found.cost_difference is None or found.champion.cost is None:
        return None
    if found.champion.cost == 0:
        return 0.0 if found.cost_difference <= 0 else None
    return found.cost_difference / found.champion.cost


def _least(name: str, limit: float, value: float | None, absent: str = "") -> PromotionCheck:
    passed = None if value is None else value >= limit
    return PromotionCheck(name=name, limit=limit, value=value, passed=passed, note=absent if value is None else "")


def _most(name: str, limit: float, value: float | None, absent: str = "") -> PromotionCheck:
    passed = None if value is None else value <= limit
    return PromotionCheck(name=name, limit=limit, value=value, passed=passed, note=absent if value is None else "")

"""VUS-PR against the published definition, point by point and threshold by threshold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import ArgumentInvalid, EvaluationInvalid
from aepipe.metrics.ranking import average_precision
from aepipe.metrics.volume_under_surface import THRESHOLDS, vus_pr

POINTS = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40).filter(
    lambda points: len({truth for truth, _ in points}) == 2
)


def _events(truth: list[bool]) -> list[tuple[int, int]]:
    """Return the first and last point of each event."""
    edges = [False, *truth, False]
    starts = [index for index in range(len(truth)) if edges[index + 1] and not edges[index]]
    ends = [index for index in range(len(truth)) if edges[index + 1] and not edges[index + 2]]
    return list(zip(starts, ends, strict=True))


def _soft_label(point: int, events: list[tuple[int, int]], width: int) -> float:
    total = 0.0
    for start, end in events:
        if start <= point <= end:
            return 1.0
        distance = start - point if point < start else point - end
        if distance <= width // 2:
            total += math.sqrt(1 - distance / width)
    return min(total, 1.0)


def _stretches(events: list[tuple[int, int]], width: int) -> list[tuple[int, int]]:
    """Return events with their buffers, joined where they share a point."""
    joined: list[tuple[int, int]] = []
    for start, end in events:
        begin, stop = start - width // 2, end + width // 2
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((begin, stop))
    return joined


def _area(truth: list[bool], scores: list[float], width: int) -> float:
    events = _events(truth)
    soft = [_soft_label(point, events, width) for point in range(len(truth))]
    area, recall_before = 0.0, 0.0
    for rank in np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int):
        flagged = [score >= sorted(scores, reverse=True)[rank] for score in scores]
        hits = sum(label for label, flag in zip(soft, flagged, strict=True) if flag)
        seen = sum(label for label, flag, inside in zip(soft, flagged, truth, strict=True) if flag or inside)
        stretches = _stretches(events, width)
        found = sum(any(flagged[max(begin, 0) : stop + 1]) for begin, stop in stretches)
        recall = min(hits / ((sum(truth) + seen) / 2), 1.0) * found / len(stretches)
        area += (recall - recall_before) * hits / sum(flagged)
        recall_before = recall
    return area


@given(POINTS, st.integers(0, 12))
def test_it_is_the_mean_of_the_published_areas(points: list[tuple[bool, int]], buffer: int) -> None:
    truth, scores = [point[0] for point in points], [float(point[1]) for point in points]

    computed = vus_pr(truth, scores, buffer=buffer)

    assert computed == pytest.approx(np.mean([_area(truth, scores, width) for width in range(buffer + 1)]), abs=1e-12)


def test_without_a_tolerance_and_with_one_event_it_is_the_average_precision() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(200) // 20 == 4
    scores = generator.normal(size=200) + 2 * truth
    # every threshold below the first hit finds the event, so that recall is not reduced
    assert vus_pr(truth, scores, buffer=0) == pytest.approx(average_precision(truth, scores), abs=1e-12)


def test_a_detection_close_to_the_event_counts_in_part() -> None:
    truth = np.zeros(300, np.bool_)
    truth[100:120] = True
    inside, close, far = (np.isin(np.arange(300), range(start, start + 20)) for start in (100, 122, 200))

    areas = [vus_pr(truth, scores.astype(float), buffer=50) for scores in (inside, close, far)]

    assert areas[0] > areas[1] > areas[2]
    assert areas[0] == pytest.approx(1, abs=0.15)


def test_labels_of_one_class_and_a_negative_buffer_are_refused() -> None:
    with pytest.raises(EvaluationInvalid, match=r"labels are not of both classes"):
        vus_pr([0, 0], [1.0, 2.0])
    with pytest.raises(ArgumentInvalid, match=r"expected 0 steps or more, got -1"):
        vus_pr([0, 1], [1.0, 2.0], buffer=-1)

"""Thresholds per entity: each group against a calibration on its rows alone; other entities share one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Job, parse_job
from aepipe.errors import JobInvalid
from aepipe.jobs.threshold_selection import Evidence, Labelled, calibrate
from aepipe.tables.entities import Entities

SIZES = {"big": 300, "wide": 150, "few": 12, "rare": 9}
SCALES = {"big": 1.0, "wide": 10.0, "few": 3.0, "rare": 3.0}


def names_of(entities: Entities) -> np.ndarray:
    return np.array(entities.names)[entities.codes]


def calibrated(*, alpha: float = 0.05, sizes: dict[str, int] = SIZES) -> tuple[Calibration, np.ndarray, Entities]:
    generator = np.random.default_rng(0)
    names = generator.permutation(np.repeat(list(sizes), list(sizes.values())))
    scores = np.abs(generator.normal(size=len(names))) * np.array([SCALES[name] for name in names])
    entities = Entities.of([pa.array(names)])
    return Calibration.fit(scores, alpha=alpha, entities=entities), scores, entities


def test_p_values_are_those_of_the_rows_of_the_entity_and_the_others_are_one_group() -> None:
    calibration, scores, entities = calibrated()
    asked = np.abs(np.random.default_rng(1).normal(size=400)) * 8
    of = Entities.of([pa.array(["big", "wide", "few", "rare", "new"]).take(pa.array(np.arange(400) % 5))])

    found = calibration.p_values(asked, of)

    names, rows = names_of(entities), names_of(of)
    for name in ("big", "wide"):
        alone = Calibration.fit(scores[names == name], alpha=0.05)
        assert found[rows == name].tolist() == alone.p_values(asked[rows == name]).tolist()
        assert calibration.of_entity(name).threshold == alone.threshold
    shared = Calibration.fit(scores[(names == "few") | (names == "rare")], alpha=0.05)
    for name in ("few", "rare", "new"):
        assert found[rows == name].tolist() == shared.p_values(asked[rows == name]).tolist()
        assert calibration.of_entity(name) == shared
    assert calibration.own_thresholds == ("big", "wide")
    assert calibration.p_values(asked).tolist() == shared.p_values(asked).tolist()


def test_too_few_rows_of_all_other_entities_share_the_threshold_of_all_rows() -> None:
    calibration, scores, _ = calibrated(sizes={"big": 300, "few": 5})

    plain = Calibration.fit(scores, alpha=0.05)

    few = Entities.of([pa.array(["few", "few"])])
    assert calibration.p_values(np.array([0.5, 4.0]), few).tolist() == plain.p_values(np.array([0.5, 4.0])).tolist()


def test_each_entity_keeps_its_share_of_false_alarms() -> None:
    calibration, _, _ = calibrated(sizes={"big": 2_000, "wide": 2_000})
    generator = np.random.default_rng(5)
    fresh = np.repeat(["big", "wide"], 20_000)
    scores = np.abs(generator.normal(size=40_000)) * np.array([SCALES[name] for name in fresh])

    flagged = calibration.is_anomaly(calibration.p_values(scores, Entities.of([pa.array(fresh)])))

    assert [flagged[fresh == name].mean() for name in ("big", "wide")] == pytest.approx([0.05, 0.05], abs=0.015)


def test_a_lower_alpha_moves_small_entities_to_the_shared_threshold_and_back() -> None:
    calibration, _, _ = calibrated(alpha=0.1)

    assert calibration.own_thresholds == ("big", "few", "rare", "wide")
    assert calibration.with_alpha(0.005).own_thresholds == ("big",)
    assert calibration.with_alpha(0.005).with_alpha(0.1) == calibration


def test_entities_survive_the_file_and_an_old_file_keeps_its_digest() -> None:
    calibration, scores, _ = calibrated()
    plain = Calibration.fit(scores, alpha=0.05)

    assert Calibration.model_validate_json(calibration.to_json()) == calibration
    assert b"entities" not in plain.to_json()
    assert plain != calibration
    assert plain.digest != calibration.digest


@pytest.mark.parametrize(
    ("entities", "fault"),
    [
        ({"a": (1.0, 2.0)}, "the scores of the entities do not make n = 3: got 2"),
        ({"a": (2.0, 1.0), "b": (3.0,)}, "the scores of entity 'a' are empty or not in ascending order"),
    ],
)
def test_a_wrong_file_is_refused(entities: dict[str, tuple[float, ...]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Calibration(alpha=0.5, n=3, scores=(1.0, 2.0, 3.0), entities=entities)


def test_entities_are_texts_of_one_or_several_columns() -> None:
    several = Entities.of([pa.array(["a", None, "a"]), pa.chunked_array([[1], [2, 1]])])

    assert names_of(several).tolist() == ["a,1", "null,2", "a,1"]
    for column in (pa.array(["x", "y"], pa.large_string()), pa.array(["x", "y"]).dictionary_encode()):
        assert Entities.of([column]).texts.to_pylist() == ["x", "y"]
    assert Entities.find(pa.table({"a": [1]}), ()) is None
    assert Entities.of([pa.array([], pa.int64())]).texts.to_pylist() == []


def job(data: dict[str, object], calibration: dict[str, object], **more: object) -> Job:
    return parse_job(
        {"name": "a", "data": {"path": "a", **data}, "calibration": calibration, **more}, source=Path("job.toml")
    )


@pytest.mark.parametrize(
    ("data", "calibration", "fault"),
    [
        ({}, {"per": "entity"}, "calibration.per needs entities: expected the column that names them in data.entity"),
        ({"entity": "device"}, {"per": "entity", "adaptive": True}, "expected adaptive or per, got both"),
        ({"entity": "device"}, {"per": "device"}, "'entity'"),
        ({"entity": 3}, {}, "data.entity"),
    ],
)
def test_a_wrong_job_is_refused(data: dict[str, object], calibration: dict[str, object], fault: str) -> None:
    with pytest.raises(JobInvalid, match=fault):
        job(data, calibration)


def test_costs_are_compared_by_the_p_values_of_the_entities() -> None:
    """Brute force over the alphas: the flags of each alpha on the labelled rows."""
    calibration, scores, entities = calibrated(alpha=0.01, sizes={"big": 300, "wide": 300})
    costs = {"false_alarm_cost": 1.0, "miss_cost": 20.0, "base_rate": 0.02}
    asked = job({"entity": "device"}, {"per": "entity", **costs})
    generator = np.random.default_rng(3)
    names = np.repeat(["big", "wide"], 200)
    truth = np.arange(400) % 4 == 0
    found = np.abs(generator.normal(size=400)) * np.where(names == "big", 1.0, 10.0) * np.where(truth, 2.5, 1.0)
    of = Entities.of([pa.array(names)])

    chosen = calibrate(asked, scores, Evidence(100.0, Labelled(found, truth, "rows", of)), entities=entities)

    p_values = calibration.p_values(found, of)
    cost = {
        alpha: 100 * (0.98 * np.mean(p_values[~truth] <= alpha) * 1.0 + 0.02 * np.mean(p_values[truth] > alpha) * 20.0)
        for alpha in np.arange(1, 601) / 601
    }
    assert chosen.choice is not None
    assert chosen.choice.chosen is not None
    assert chosen.choice.chosen.cost == pytest.approx(min(cost.values()))
    assert cost[min(cost, key=lambda alpha: abs(alpha - chosen.alpha))] == pytest.approx(min(cost.values()))

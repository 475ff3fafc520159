"""Results, scores and pages of the detection benchmark, without training."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import EllipticEnvelope

from aepipe.config.job import parse_job
from benchmarks import detection_baselines
from benchmarks.detection import FULL, QUICK, Case, detectors, key
from benchmarks.detection_detectors import Clock, quality
from benchmarks.detection_figures import SPEED, Measured
from benchmarks.detection_ours import OUR_RECIPE, RECIPES, job_sections
from benchmarks.detection_report import section
from benchmarks.detection_tables import PROTOCOLS, Split
from benchmarks.store import Result


@pytest.fixture
def split() -> Split:
    """Generate correlated rows, and anomalies that only break the correlation."""
    generator = np.random.default_rng(0)
    mixing = np.asarray([[1.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 5.0]])
    normal, anomalous = generator.standard_normal((600, 3)) @ mixing, generator.standard_normal((40, 3)) * [1, 1, 5]
    rows = np.concatenate([normal[300:], anomalous])
    return Split(normal[:300], rows, np.arange(len(rows)) >= 300, scores_own_rows=False)


def result(detector: str, table: str, seed: int, **values: float) -> tuple[Measured, Result]:
    full = {"auroc": 0.5, "ap": 0.5, "fit_cpu_s": 1.0, "score_cpu_s": 0.5, "not_scored": 1, "test_rows": 50, **values}
    made = Result("name", seed, "key", full, "2026-11-21", "2 cores, some processor", {"pyod": "3.6"})
    return Measured("clean", detector, table, seed), made


def test_a_row_without_a_score_counts_as_the_most_anomalous() -> None:
    rows = np.zeros((4, 1))
    split = Split(rows, rows, np.asarray([False, False, True, True]), scores_own_rows=True)

    found = quality(np.asarray([0.1, -0.5, np.nan, 0.2]), split)

    assert found == {"auroc": 1.0, "ap": 1.0, "not_scored": 1.0}


def test_rows_that_score_alike_share_their_rank() -> None:
    rows = np.zeros((4, 1))
    split = Split(rows, rows, np.asarray([False, True, False, True]), scores_own_rows=True)

    assert quality(np.ones(4), split)["auroc"] == 0.5


def test_baselines_find_what_breaks_a_correlation(split: Split) -> None:
    found = {
        each.name: quality(each.run(split, 0, Clock()).scores, split)["auroc"]
        for each in detection_baselines.detectors()
    }

    assert 0.35 < found["random"] < 0.65
    assert min(found["pca-error"], found["robust-mahalanobis"], found["knn-distance"]) > 0.7


def test_robust_mahalanobis_ranks_as_scikit_learn_does(split: Split) -> None:
    run = {each.name: each.run for each in detection_baselines.detectors()}["robust-mahalanobis"]
    train = np.random.default_rng(1).multivariate_normal([0, 0, 9], [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 4]], 3_000)
    reference = EllipticEnvelope(support_fraction=0.6, random_state=0).fit(train).mahalanobis(split.test)

    distances = run(split._replace(train=train), 0, Clock()).scores

    ranks = [np.argsort(np.argsort(values)) for values in (distances, reference)]
    assert np.corrcoef(ranks)[0, 1] > 0.98


def test_a_training_row_is_not_its_own_neighbour(split: Split) -> None:
    run = {each.name: each.run for each in detection_baselines.detectors()}["knn-distance"]
    own = split._replace(test=split.train, scores_own_rows=True)

    distances = run(own, 0, Clock()).scores

    others = np.sort(np.linalg.norm((own.train[:1] - own.train[1:]) / own.train.std(axis=0), axis=1))[:5]
    assert distances[0] == pytest.approx(others.mean())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_recipe_is_a_job(recipe: str, protocol: str, tmp_path: Path) -> None:
    job = parse_job(job_sections(RECIPES[recipe][protocol], seed=7), source=tmp_path / "job.toml")

    assert job.train.data == protocol
    assert job.train.seed == 7


def test_a_recipe_of_one_protocol_leaves_the_results_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case(protocol, OUR_RECIPE, "29_Pima") for protocol in PROTOCOLS]
    before = [key(case, FULL) for case in cases]
    longer = {**RECIPES[OUR_RECIPE], "polluted": {"train": {"data": "polluted", "epochs": 999}}}

    monkeypatch.setitem(RECIPES, OUR_RECIPE, longer)

    after = [key(case, FULL) for case in cases]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert key(cases[0], QUICK) != before[0]


def test_every_case_has_its_own_key() -> None:
    cases = [Case(protocol, name, table) for protocol in PROTOCOLS for name in detectors() for table in ("a", "b")]
    cases += [Case(SPEED, SPEED, table) for table in ("a", "b")]

    assert len({key(case, FULL) for case in cases}) == len(cases)


def test_peers_that_are_not_installed_say_so() -> None:
    lacking = {name for name, detector in detectors().items() if detector.lacks is not None}

    if importlib.util.find_spec("pyod") is None:
        assert lacking == {name for name in detectors() if name.startswith("pyod-")}
    else:
        assert not lacking


def test_the_tables_say_what_was_reached_and_what_was_not_measured() -> None:
    found = dict(
        [
            result(OUR_RECIPE, "a", 0, auroc=0.90, ap=0.6),
            result(OUR_RECIPE, "a", 1, auroc=0.80, ap=0.6),
            result("pyod-ae", "a", 0, auroc=0.82, ap=0.7),
            result("pyod-ae", "a", 1, auroc=0.78, ap=0.7),
        ]
    )

    lines = section(found, most_rows=10_000).splitlines()

    assert "| clean: mean AUROC, against pyod-ae, 1 table | +4 points | 0.8500 | 0.8000 (+5.0) | yes |" in lines
    assert "| clean: mean AP, against pyod-ae, 1 table | at least as high | 0.6000 | 0.7000 (-10.0) | **no** |" in lines
    assert "| clean: mean AUROC, against pyod-knn | +1 point | not measured | | |" in lines
    assert "| ours | 0.8500 | 0.6000 | 1.00 | 0.500 | 2.0% | 1 | 2 |" in lines
    assert "| a | 0.850 | 0.800 |  |  | pyod-ae 0.800 (+5.0) |" in lines
    assert "| clean: mean AUROC, 1 table | at least 0.915 | 0.8500 | | **no** |" in lines
    assert "| polluted: mean AP | at least 0.495 | not measured | | |" in lines


def test_a_level_takes_three_seeds_to_be_reached() -> None:
    one = dict([result(OUR_RECIPE, "a", 0, auroc=0.95, ap=0.6)])
    three = dict(result(OUR_RECIPE, "a", seed, auroc=0.95, ap=0.6) for seed in range(3))

    label = "| clean: mean AUROC, 1 table | at least 0.915 | 0.9500 | | "

    assert f"{label}not shown: 1 of 3 seeds |" in section(one, most_rows=10_000).splitlines()
    assert f"{label}yes |" in section(three, most_rows=10_000).splitlines()


def test_a_table_far_below_the_best_detector_misses_the_goal() -> None:
    found = dict(
        [
            result(OUR_RECIPE, "a", 0, auroc=0.70),
            result(OUR_RECIPE, "b", 0, auroc=0.90),
            result(OUR_RECIPE, "b", 1, auroc=0.90),
            result("pyod-knn", "a", 0, auroc=0.79),
            result("pyod-lof", "a", 0, auroc=0.72),
            result("pyod-knn", "b", 0, auroc=0.80),
        ]
    )

    lines = section(found, most_rows=10_000).splitlines()

    label = "| clean: AUROC of each table, against the best other detector, 2 tables | at most 8 points below "
    (line,) = [line for line in lines if line.startswith(label)]
    assert line == f"{label}| 0.7000 for a | 0.7900 of pyod-knn (-9.0) | **no**: 1 table further below |"
    assert "| b | 0.900 |  | 0.800 |  | pyod-knn 0.800 (+10.0) |" in lines
    assert "| ours | 0.8000 | 0.5000 | 1.00 | 0.500 | 2.0% | 2 | 1 to 2 |" in lines


def test_alarms_are_in_per_cent_over_the_tables_with_enough_rows() -> None:
    at_05 = {"recall@0.05": 0.5, "precision@0.05": 0.8, "false_alarms@0.05": 0.04}
    at_01 = {"recall@0.01": 0.2, "precision@0.01": 0.9, "false_alarms@0.01": 0.01}
    own = {f"own_{name}": value / 2 for name, value in at_05.items()}
    found = dict(
        [
            result(OUR_RECIPE, "a", 0, **at_01, **at_05, **own),
            result(OUR_RECIPE, "b", 0, **{**at_05, "recall@0.05": 0.7}),
            result("pyod-lunar", "a", 0, **at_05),
        ]
    )

    lines = section(found, most_rows=10_000).splitlines()

    assert "| ours | 20.0 | 90.0 | 1.0 | 60.0 | 80.0 | 4.0 | 1 and 2 |" in lines
    assert "| pyod-lunar, 1,000 rows |  |  |  | 50.0 | 80.0 | 4.0 | 0 and 1 |" in lines
    assert "| clean | 0.05 | of the bundle | 25.0 | 40.0 | 2.0 | 1 |" in lines
    assert "| clean | 0.05 | the rule above | 50.0 | 80.0 | 4.0 | 1 |" in lines


def test_slow_detectors_get_fewer_rows() -> None:
    case = Case("clean", "pyod-lunar", "a")

    assert detectors()["pyod-lunar"].most_rows == 1_000
    assert key(case, FULL) == key(case, FULL._replace(most_rows=5_000))
    assert key(case, FULL) != key(case, QUICK)


def test_speed_is_a_ratio_of_rows_a_cpu_second() -> None:
    case = Measured(SPEED, SPEED, "16_http", 0)
    values = {
        "table_rows_per_cpu_s": 900_000.0,
        "scorer_rows_per_cpu_s": 2e6,
        "pyod_rows_per_cpu_s": 100_000.0,
        "rows": 1e5,
        "columns": 3.0,
        "pyod_batch_rows": 1_024.0,
    }
    made = Result("name", 0, "key", values, "2026-11-21", "some machine", {})

    text = section({case: made}, most_rows=10_000)

    assert "900,000 from Arrow to p-values and reasons (9.0 x)" in text
    assert "100,000 of pyod-ae in batches of 1,024 | **no** |" in text

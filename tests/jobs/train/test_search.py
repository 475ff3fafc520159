"""Search over options: combinations, successive halving, metrics, engines, and the record in the bundle."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job, read_job
from aepipe.config.search import Search
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.jobs.train import search as searching
from aepipe.jobs.train.search import combinations, search
from aepipe.jobs.train.train import train, training_key
from aepipe.jobs.train.trial import Trial, TrialValue, parse_job_text
from aepipe.progress import no_progress

DATA = {"path": "rows"}


def job_with(section: dict[str, object], **others: object) -> object:
    return parse_job({"name": "t", "data": DATA, "train": {"search": section}, **others}, source=Path("/j/job.toml"))


@given(
    model=st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=4, unique=True)),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
    trials=st.none() | st.integers(2, 20),
)
def test_every_combination_is_tried_once(model: dict[str, list[int]], seeds: list[int], trials: int | None) -> None:
    settings = Search(model=model, train={"seed": tuple(seeds)}, trials=trials)

    found = combinations(settings, seed=3)

    assert len(found) == min(settings.size, trials or settings.size)
    assert len({tuple(each.items()) for each in found}) == len(found)
    for each in found:
        assert all(value in (seeds if name == "train.seed" else model[name[6:]]) for name, value in each.items())


def test_halving_gives_the_best_third_three_times_as_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[tuple[int | None, list[int]]] = []

    def measure(workers: object, call: object, requests: list[Trial], *, done: object) -> list[TrialValue]:
        seeds = [parse_job_text(request.job, request.source).train.seed for request in requests]
        rounds.append((requests[0].epochs, seeds))
        return [TrialValue(abs(seed - 5.0)) for seed in seeds]

    monkeypatch.setattr(searching.TaskWorkers, "run", measure)
    settings = Search(train={"seed": tuple(range(10))})
    job = parse_job({"name": "t", "data": DATA, "train": {"epochs": 270}}, source=Path("/j/job.toml"))

    found = search(job, settings, (), device=None, progress=no_progress)

    assert rounds == [(10, list(range(10))), (30, [5, 4, 6, 3]), (90, [5, 4])]
    assert found.job.train.seed == 5
    assert found.job.train.search is None
    assert found.job.train.epochs == 270
    assert [trial.options["train.seed"] for trial in found.trials] == [5, 4, 6, 3, 7, 2, 8, 1, 9, 0]
    assert [trial.epochs for trial in found.trials] == [90, 90, 30, 30, *[10] * 6]


def test_trials_that_fail_rank_last_and_a_search_without_a_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {0: math.inf, 1: 2.0, 2: math.inf}

    def measure(workers: object, call: object, requests: list[Trial], *, done: object) -> list[TrialValue]:
        seeds = [parse_job_text(request.job, request.source).train.seed for request in requests]
        return [TrialValue(values[seed], "a loss is not finite" if seed != 1 else "") for seed in seeds]

    monkeypatch.setattr(searching.TaskWorkers, "run", measure)
    job = parse_job({"name": "t", "data": DATA}, source=Path("/j/job.toml"))

    found = search(job, Search(train={"seed": (0, 1, 2)}), (), device=None, progress=no_progress)

    assert found.job.train.seed == 1
    assert found.details()["trials"][1] == {
        "options": {"train.seed": 0},
        "epochs": 66,
        "value": None,
        "reason": "a loss is not finite",
    }
    values[1] = math.inf
    with pytest.raises(OptionInvalid, match="no trial has a value: a loss is not finite"):
        search(job, Search(train={"seed": (0, 1, 2)}), (), device=None, progress=no_progress)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({}, "expected values to try of at least one option, got none"),
        ({"model": {"latent": []}}, "got none of model.latent"),
        ({"train": {"alias": ["a"]}}, "expected batch_rows, learning_rate"),
        ({"model": {"family": ["ae", "vae"]}}, "losses of different families cannot be compared"),
        ({"model": {"latent": [2]}, "metric": "average_precision"}, 'expected [score] head = "labelled", got "auto"'),
        ({"model": {"latent": list(range(2000))}}, "expected at most 1,000 combinations, or trials, got 2,000"),
        ({"model": {"latent": [2]}, "metric": "loss"}, "metric"),
    ],
)
def test_searches_that_cannot_work_are_refused(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        job_with(section)
    assert sentence in str(refused.value)


def test_jobs_without_a_search_keep_their_training_key() -> None:
    job = parse_job({"name": "t", "data": DATA}, source=Path("/j/job.toml"))
    searched = job_with({"train": {"seed": [0, 1]}})

    assert "search" not in job.model_dump(mode="json")["train"]
    assert training_key(job, ()) != training_key(searched, ())  # type: ignore[arg-type]


def test_each_number_of_batch_rows_has_its_own_training_key() -> None:
    """This includes the former default of all tables."""
    sections: list[dict[str, int]] = [{}, {"batch_rows": 128}, {"batch_rows": 256}, {"batch_rows": 1_024}]
    jobs = [parse_job({"name": "t", "data": DATA, "train": each}, source=Path("/j/job.toml")) for each in sections]

    assert len({training_key(job, ()) for job in jobs}) == len(sections)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "processes", "ray"])
def test_training_uses_the_best_trial_and_its_card_lists_all(cells: Path, engine: str) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    section = "[train.search]\nmodel = { latent = [1, 8] }\ntrain = { learning_rate = [1e-6, 3e-3] }\n"
    cells.write_text(f'{cells.read_text()}\n{section}[run]\nengine = "{engine}"\nworkers = 2\n')
    shares: list[float] = []

    result = train(cells, progress=lambda stage, share: shares.append(share) if stage == "search" else None)
    again = train(cells)

    bundle = Bundle.open(result.bundle)
    search = bundle.manifest.details["search"]
    assert result.created
    assert not again.created
    assert isinstance(search, dict)
    assert search["trials"][0]["options"] == {"model.latent": 8, "train.learning_rate": 3e-3}
    assert len(search["trials"]) == 4
    assert bundle.manifest.job["model"]["latent"] == 8  # type: ignore[index, call-overload]
    assert "search" not in bundle.manifest.job["train"]  # type: ignore[operator]
    card = bundle.files["card.md"].decode()
    assert "| model.latent | train.learning_rate | epochs | dev loss |" in card
    assert card.count("| 1 | 1e-06 |") + card.count("| 1 | 0.003 |") == 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.slow
def test_labels_rank_a_search_over_families(cells: Path) -> None:
    text = cells.read_text().replace('family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "ae"')
    text = text.replace('to = "2026-01-04"\n', "", 1).replace("[score]\n", '[score]\nhead = "labelled"\n')
    cells.write_text(f'{text}\n[train.search]\nmodel = {{ family = ["pca", "ae"] }}\nmetric = "average_precision"\n')
    assert read_job(cells).train.search is not None

    bundle = Bundle.open(train(cells).bundle)

    search = bundle.manifest.details["search"]
    assert isinstance(search, dict)
    assert {trial["options"]["model.family"] for trial in search["trials"]} == {"pca", "ae"}
    assert all(0 <= trial["value"] <= 1 for trial in search["trials"])
    assert "average precision" in bundle.files["card.md"].decode()


@pytest.mark.slow
def test_an_unknown_option_is_refused_before_any_trial_ends(cells: Path) -> None:
    cells.write_text(cells.read_text() + "\n[train.search]\nmodel = { latnet = [1, 8] }\n")

    with pytest.raises(OptionInvalid, match="latnet"):
        train(cells)

import numpy as np
import pytest
import torch

from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs
from aepipe.heads.selection import choose_head
from tests.support.head_models import scoring_inputs


def _labelled(outlying: bool) -> tuple[ScoringInputs, np.ndarray]:
    """Return rows, a tenth of them anomalies, which reconstruction alone can detect if they are outlying."""
    rows, is_anomaly = scoring_inputs(400, seed=2), np.arange(400) % 10 == 0
    total = rows.total + (1_000 * torch.from_numpy(is_anomaly) if outlying else 0)
    return rows._replace(total=total), is_anomaly


def _stats() -> HeadStats:
    learned = scoring_inputs(300)
    return HeadStats(learned, learned)


def test_labels_choose_the_head_that_finds_their_anomalies() -> None:
    chosen = choose_head(_stats(), *_labelled(outlying=True), default="knn")

    assert chosen.name == max(chosen.average_precision, key=chosen.average_precision.__getitem__)
    assert chosen.name in {"reconstruction", "elbo"}
    assert chosen.average_precision["reconstruction"] == 1
    assert "is chosen: average precision 1.000 against 0." in chosen.sentence
    assert "40 anomalies among 400 labelled rows" in chosen.sentence


@pytest.mark.parametrize("default", ["knn", "consensus"])
def test_what_is_better_by_chance_does_not_take_the_defaults_place(default: str) -> None:
    chosen = choose_head(_stats(), *_labelled(outlying=False), default=default)

    assert set(chosen.average_precision) == set(heads.names())
    assert chosen.name == default
    assert "is kept" in chosen.sentence or "has the best" in chosen.sentence

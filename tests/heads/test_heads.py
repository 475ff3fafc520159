import numpy as np
import pytest
import torch

from aepipe.errors import OptionInvalid
from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs
from tests.support.head_models import scoring_inputs


def test_every_head_has_a_name_and_a_summary() -> None:
    for name in heads.names():
        assert heads.find(name).name == name
        assert heads.find(name).summary


def test_a_misspelt_head_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OptionInvalid, match=r"there is no head 'mahalanobs'; did you mean 'mahalanobis'\?"):
        heads.find("mahalanobs")


def test_an_unknown_head_is_refused_with_all_names() -> None:
    with pytest.raises(
        OptionInvalid,
        match="expected one of consensus, elbo, knn, knn_with_quantiles, knn_with_row, mahalanobis, mean_loss",
    ):
        heads.find("zzz")


def test_auto_follows_what_the_training_rows_are_known_to_be() -> None:
    assert heads.resolve("auto", "clean") == "knn_with_quantiles"
    assert heads.resolve("auto", "clean", has_conditions=True) == "knn_with_row"
    assert heads.resolve("auto", "polluted") == "consensus"
    assert heads.resolve("elbo", "polluted") == "elbo"
    assert heads.resolve("auto", "clean", has_texts=True) == "mahalanobis"
    assert heads.resolve("labelled", "polluted", has_texts=True) == "elbo"


@pytest.mark.parametrize("name", heads.names())
def test_a_head_gives_each_row_a_finite_score(name: str) -> None:
    head = heads.find(name).fit(HeadStats(scoring_inputs(200), scoring_inputs(50, seed=1)))

    score = head(scoring_inputs(17, seed=2))

    assert score.shape == (17,)
    assert score.dtype == torch.float32
    assert torch.isfinite(score).all()


@pytest.mark.parametrize("name", heads.names())
def test_a_score_depends_on_its_own_row_alone(name: str) -> None:
    head = heads.find(name).fit(HeadStats(scoring_inputs(200), scoring_inputs(50, seed=1)))
    rows = scoring_inputs(64, seed=2)

    together = head(rows)
    alone = torch.cat([head(ScoringInputs(*(part[i : i + 1] for part in rows))) for i in range(64)])

    torch.testing.assert_close(alone, together, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", heads.names())
def test_the_same_rows_and_seed_give_the_same_head(name: str) -> None:
    stats = HeadStats(scoring_inputs(2_000), scoring_inputs(50, seed=1), seed=3)

    once, again = (heads.find(name).fit(stats)(scoring_inputs(20, seed=2)) for _ in range(2))

    torch.testing.assert_close(once, again, rtol=0, atol=0)


@pytest.mark.parametrize("name", heads.names())
def test_rows_far_from_all_others_score_higher(name: str) -> None:
    head = heads.find(name).fit(HeadStats(scoring_inputs(500), scoring_inputs(100, seed=1)))
    usual = scoring_inputs(200, seed=2)
    far = ScoringInputs(*(100 * part for part in usual))

    assert head(far).min() > head(usual).max()


@pytest.mark.parametrize("name", heads.names())
@pytest.mark.parametrize(
    "case", ["constant column", "duplicate column", "fewer rows than columns", "one row", "all zero"]
)
def test_degenerate_training_rows_still_give_finite_scores(name: str, case: str) -> None:
    def spoil(rows: ScoringInputs) -> ScoringInputs:
        residual = rows.residual.clone()
        if case == "constant column":
            residual[:, 0] = 0
        if case == "duplicate column":
            residual[:, 1] = residual[:, 0]
        if case == "all zero":
            return ScoringInputs(*(torch.zeros_like(part) for part in rows))
        return rows._replace(residual=residual)

    rows = {"fewer rows than columns": 5, "one row": 1}.get(case, 100)
    head = heads.find(name).fit(HeadStats(spoil(scoring_inputs(rows)), spoil(scoring_inputs(rows, seed=1))))

    score = head(scoring_inputs(30, seed=2))

    assert torch.isfinite(score).all()
    assert len(np.unique(score.numpy())) > 1

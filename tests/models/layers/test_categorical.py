import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from aepipe.layout import FIRST_VALUE, RARE, UNSEEN
from aepipe.models.layers.categorical import Categoricals

SIZES = (5, 40, 7, 3, 5, 33)


@pytest.fixture
def many() -> Categoricals:
    return Categoricals(SIZES).double()


def logits_of(many: Categoricals, rows: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(rows, many.width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def column(many: Categoricals, logits: torch.Tensor, index: int) -> torch.Tensor:
    """Return the logits of one column, found from the gradient of its loss."""
    logits = logits.clone().requires_grad_()
    many.nll(logits, torch.zeros(len(logits), len(SIZES), dtype=torch.int64))[:, index].sum().backward()
    assert logits.grad is not None
    begin = int(logits.grad[0].nonzero()[0])
    return logits[:, begin : begin + SIZES[index]].detach()


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_nll_of_each_column_equals_torch_distributions(many: Categoricals, index: int) -> None:
    logits = logits_of(many, 50)
    codes = torch.stack([torch.arange(50) % size for size in SIZES], 1)

    nll = many.nll(logits, codes)

    oracle = Categorical(logits=column(many, logits, index))
    torch.testing.assert_close(nll[:, index], -oracle.log_prob(codes[:, index]))


def test_drawn_codes_are_as_frequent_as_their_probabilities(many: Categoricals) -> None:
    logits = logits_of(many, 1).expand(20_000, -1)
    uniform = torch.rand(20_000, len(SIZES), generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    codes = many.draw(logits, uniform)

    for index, size in enumerate(SIZES):
        own = column(many, logits[:1], index)[0]
        own[UNSEEN] = -torch.inf
        found = np.bincount(codes[:, index].numpy(), minlength=size) / 20_000
        np.testing.assert_allclose(found, own.softmax(0).numpy(), atol=0.015)


def test_unseen_codes_and_padding_are_never_drawn(many: Categoricals) -> None:
    logits = torch.zeros(4_000, many.width, dtype=torch.float64)
    ends = torch.cat([torch.zeros(1), torch.rand(3_998), torch.ones(1)]).double()
    uniform = ends.unsqueeze(1).expand(-1, len(SIZES))

    codes = many.draw(logits, uniform)

    assert not (codes == UNSEEN).any()
    assert (codes < torch.tensor(SIZES)).all()


def test_the_guess_is_the_likeliest_value_and_never_a_reserved_code(many: Categoricals) -> None:
    logits = logits_of(many, 200)

    guessed = many.guess(logits)

    for index, size in enumerate(SIZES):
        own = column(many, logits, index)
        if size > FIRST_VALUE:
            assert torch.equal(guessed[:, index].long(), own[:, FIRST_VALUE:].argmax(1) + FIRST_VALUE)
        else:
            assert (guessed[:, index] == RARE).all()


def test_one_hot_codes_have_the_layout_of_the_logits(many: Categoricals) -> None:
    codes = torch.stack([torch.arange(40) % size for size in SIZES], 1)

    hot = many.one_hot(codes)

    assert hot.sum(1).tolist() == [len(SIZES)] * 40
    torch.testing.assert_close(many.nll(1e3 * hot, codes), torch.zeros(40, len(SIZES)).double())


def test_a_thousand_columns_of_one_size_are_one_block() -> None:
    assert len(Categoricals([5] * 1_000).blocks) == 1

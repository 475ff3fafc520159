import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from aepipe.models.layers.vector_quantizer import VectorQuantizer, perplexity, shares_of


def make(size: int = 5, width: int = 3, *, decay: float = 0.9, reset_below: float = 0.0) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(size, width, decay=decay, reset_below=reset_below).double()


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_code_of_a_vector_is_the_nearest_one() -> None:
    book, x = make(), some(20, 4, 3)

    codes = book(x)

    assert torch.equal(codes, torch.cdist(x, book.vectors).argmin(-1))
    assert torch.equal(book.look_up(codes), book.vectors[codes])


def test_codes_follow_the_moving_averages_of_the_paper() -> None:
    book, batches = make(), [some(40, 3, seed=seed) for seed in range(3)]
    uses, sums = torch.ones(5).double(), book.vectors.clone()
    vectors = book.vectors.clone()

    for x in batches:
        codes = torch.cdist(x, vectors).argmin(-1)
        for k in range(5):
            mine = x[codes == k]
            uses[k] = 0.9 * uses[k] + 0.1 * len(mine) * 5 / 40
            sums[k] = 0.9 * sums[k] + 0.1 * mine.sum(0) * 5 / 40
            vectors[k] = sums[k] / uses[k]
        book.follow(x, book(x), noise())

    torch.testing.assert_close(book.vectors, vectors)
    torch.testing.assert_close(book.uses, uses)


def test_a_step_does_not_depend_on_how_often_the_batch_is_repeated() -> None:
    once, twice, x = make(), make(), some(40, 3)

    once.follow(x, once(x), noise())
    twice.follow(torch.cat([x, x]), twice(torch.cat([x, x])), noise())

    torch.testing.assert_close(once.vectors, twice.vectors)


def test_a_code_without_vectors_does_not_move() -> None:
    book, x = make(), some(40, 3)
    book.vectors[4] = book.sums[4] = 100.0

    for _ in range(2_000):
        book.follow(x, book(x), noise())

    torch.testing.assert_close(book.vectors[4], torch.full((3,), 100.0, dtype=torch.float64))
    assert book.vectors.isfinite().all()


def test_an_unused_code_is_reset_to_a_vector_of_the_batch() -> None:
    book, x = make(reset_below=0.5), some(40, 3)
    book.vectors[4] = book.sums[4] = 100.0

    steps = 0
    while book.vectors[4].max() > 50 and steps < 20:
        book.follow(x, book(x), noise())
        steps += 1

    assert steps == 7  # 0.9^7 is the first power below 0.5
    assert (x - book.vectors[4]).abs().amax(1).min() < 0.05
    assert book.uses[4] == 1
    assert 4 in book(x)


def test_the_codebook_starts_at_clusters_as_good_as_k_means() -> None:
    x = torch.cat([some(100, 2, seed=at) * 0.1 + 3 * some(1, 2, seed=90 + at) for at in range(6)])
    book = make(12, 2)

    book.start(x)

    error = (x - book.look_up(book(x))).square().sum()
    other = KMeans(12, init="random", n_init=1, random_state=0).fit(x.numpy()).inertia_
    assert float(error) < 1.25 * other
    torch.testing.assert_close(book.sums, book.vectors)


def test_fewer_vectors_than_codes_still_give_distinct_codes() -> None:
    book, x = make(7, 3), some(3, 3)

    book.start(x)

    assert book.vectors.isfinite().all()
    assert len(book.vectors.unique(dim=0)) == 7
    torch.testing.assert_close(book.look_up(book(x)), x)


def test_codes_reset_together_get_different_vectors() -> None:
    book, x = make(reset_below=0.5, decay=0.0), some(2, 3)
    book.vectors[2:] = book.sums[2:] = 100.0

    book.follow(x, book(x), noise())

    assert len(book.vectors.unique(dim=0)) == 5
    assert book.vectors.max() < 50


def test_no_gradient_reaches_a_codebook() -> None:
    book = make()

    assert not list(book.parameters())
    assert set(book.state_dict()) == {"vectors", "uses", "sums"}


@pytest.mark.parametrize("size", [1, 4, 9])
def test_perplexity_is_the_exponential_of_the_entropy(size: int) -> None:
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, size, (50, 3)))

    shares = shares_of(codes, size)

    assert float(shares.sum()) == pytest.approx(1)
    assert float(perplexity(shares)) == pytest.approx(float(torch.distributions.Categorical(shares).entropy().exp()))

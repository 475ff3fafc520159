"""Rank the items that a user has not had: mult_vae against linear methods and popularity; writes docs/benchmarks.md.

No package of the environment contains ratings, so users are generated: each mixes a few tastes, items belong to tastes
to different degrees, and their popularity is skewed.

python -m benchmarks.recommend
python -m benchmarks.recommend --seed 1 --no-page     # another world, to choose options by
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import aepipe
from benchmarks.page import put_into, table
from benchmarks.store import machine

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ITEMS, TASTES = 2_000, 20
_LEARNED, _OTHERS = 2_000, 500
_HIDDEN = 0.2
_NEIGHBOURS = 100
_RANK, _RIDGE = 20, 200.0
"""Options of the singular value decomposition and of EASE, chosen with seed 1."""


class World(NamedTuple):
    """Items of users to learn from, and of others, in the part that is shown and the part that is to be found."""

    learned: list[list[int]]
    shown: list[list[int]]
    hidden: list[list[int]]


def world(seed: int) -> World:
    """Generate users; a fifth of the items of each of the others is hidden."""
    rng = np.random.default_rng(seed)
    popular = 0.9 * np.log(1 / (rng.permutation(ITEMS) + 10.0))
    belongs = 1.5 * rng.gumbel(size=(TASTES, ITEMS))
    users = []
    for _ in range(_LEARNED + _OTHERS):
        tastes = rng.dirichlet(np.full(TASTES, 0.12))
        count = int(np.clip(rng.lognormal(3.4, 0.6), 10, 200))
        preference = popular + np.log(tastes @ np.exp(belongs))
        users.append(rng.permutation(np.argsort(-(preference + rng.gumbel(size=ITEMS)))[:count]).tolist())
    others = users[_LEARNED:]
    cuts = [max(1, round(_HIDDEN * len(each))) for each in others]
    return World(
        users[:_LEARNED],
        [each[cut:] for each, cut in zip(others, cuts, strict=True)],
        [each[:cut] for each, cut in zip(others, cuts, strict=True)],
    )


def ndcg(ranked: list[list[int]], hidden: list[list[int]], most: int) -> float:
    """Return the mean normalised discounted cumulative gain of the first `most` items."""
    gains = 1 / np.log2(np.arange(2, most + 2))
    found = [
        gains[: len(row)] @ np.isin(row[:most], wanted) / gains[: len(wanted)].sum()
        for row, wanted in zip(ranked, hidden, strict=True)
    ]
    return float(np.mean(found))


def recall(ranked: list[list[int]], hidden: list[list[int]], most: int) -> float:
    """Return the mean share of hidden items among the first `most`, of at most `most`."""
    found = [
        np.isin(row[:most], wanted).sum() / min(most, len(wanted)) for row, wanted in zip(ranked, hidden, strict=True)
    ]
    return float(np.mean(found))


def by_popularity(seen: World) -> list[list[int]]:
    """Rank items by the number of users who had them."""
    counts = np.bincount(np.concatenate(seen.learned), minlength=ITEMS)
    return _best(np.repeat(counts[None].astype(float), len(seen.shown), 0), seen.shown)


def by_neighbours(seen: World) -> list[list[int]]:
    """Rank items by cosine similarity to the items of the user, over the nearest items of each item."""
    users = _matrix(seen.learned)
    norms = np.sqrt(np.asarray(users.sum(0)).ravel()).clip(1)
    similar = (users.T @ users).toarray() / norms[:, None] / norms
    np.fill_diagonal(similar, 0)
    least = np.partition(similar, -_NEIGHBOURS, axis=0)[-_NEIGHBOURS]
    return _best(_matrix(seen.shown) @ np.where(similar >= least, similar, 0), seen.shown)


def by_singular_vectors(seen: World, rank: int = _RANK) -> list[list[int]]:
    """Rank items by the projection of the user on the leading right singular vectors of users and items."""
    users = _matrix(seen.learned)
    _, vectors = np.linalg.eigh((users.T @ users).toarray())
    leading = vectors[:, -rank:]
    return _best(_matrix(seen.shown) @ leading @ leading.T, seen.shown)


def by_regression(seen: World, ridge: float = _RIDGE) -> list[list[int]]:
    """Rank items by the ridge regression of each item on all others."""
    users = _matrix(seen.learned)
    return _best(_matrix(seen.shown) @ regression_weights((users.T @ users).toarray(), ridge), seen.shown)


def regression_weights(gram: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return the weights of items (rows) in the prediction of each item (columns), (I, I): EASE, Steck 2019, eq. 8.

    Args:
        gram: number of users who have both of two items, (I, I).
        ridge: added to its diagonal.
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def _matrix(users: list[list[int]]) -> csr_matrix:
    rows = np.repeat(np.arange(len(users)), list(map(len, users)))
    return csr_matrix((np.ones(len(rows)), (rows, np.concatenate(users))), (len(users), ITEMS))


def _best(scores: NDArray[np.float64], shown: list[list[int]]) -> list[list[int]]:
    scores = np.array(scores, np.float64)
    for row, items in zip(scores, shown, strict=True):
        row[items] = -np.inf
    best: list[list[int]] = np.argsort(-scores, axis=1, kind="stable")[:, :100].tolist()
    return best


def main() -> None:
    """Train mult_vae, rank items by all methods, print the table and write it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recommend", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=2, help="of the generated users")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()

    seen = world(asked.seed)
    began = time.process_time()
    model = aepipe.fit(
        pa.table({"items": pa.array(seen.learned, pa.list_(pa.int64()))}),
        family="mult_vae",
        columns={"items": "items"},
        train={"epochs": asked.epochs},
        samples={"quality": {"check": False}},
    )
    spent = time.process_time() - began
    began = time.process_time()
    shown = pa.table({"items": pa.array(seen.shown, pa.list_(pa.int64()))})
    ranked = model.recommend(shown, 100)["recommended"].to_pylist()
    speed = len(ranked) / (time.process_time() - began)
    rows = []
    for name, found, seconds in (
        ("mult_vae", ranked, f"{spent:.0f}"),
        ("singular vectors", *_timed(by_singular_vectors, seen)),
        ("EASE", *_timed(by_regression, seen)),
        ("item-kNN", *_timed(by_neighbours, seen)),
        ("popularity", *_timed(by_popularity, seen)),
    ):
        figures = (ndcg(found, seen.hidden, 100), recall(found, seen.hidden, 20), recall(found, seen.hidden, 50))
        rows.append((name, *(f"{figure:.3f}" for figure in figures), seconds))
    text = "\n".join(_section(rows, seen, speed))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="recommend")


def _timed(rank: Callable[[World], list[list[int]]], seen: World) -> tuple[list[list[int]], str]:
    began = time.process_time()
    return rank(seen), f"{time.process_time() - began:.0f}"


def _section(rows: list[tuple[str, ...]], seen: World, speed: float) -> Iterator[str]:
    yield "## Recommendations"
    yield ""
    average = np.mean(list(map(len, seen.learned)))
    yield (
        f"Made by `python -m benchmarks.recommend`, {datetime.now(UTC).date()}, {machine()}, one thread. Generated "
        f"users with {average:.0f} of {ITEMS:,} items each on average, from mixtures of {TASTES} tastes, with skewed "
        f"popularity: {len(seen.learned):,} to learn from, and {len(seen.shown)} others who are new to all methods, "
        f"{_HIDDEN:.0%} of whose items are hidden. NDCG and recall of the hidden items among the first 100, 20 and 50; "
        f"singular vectors: {_RANK} of the matrix of users and items; EASE: ridge regression of each item on all "
        f"others with ridge {_RIDGE:g} (Steck 2019), both chosen with seed 1; item-kNN by the cosine over "
        f"{_NEIGHBOURS} neighbours. CPU seconds to train and export, of the others to fit and rank. The exported "
        f"graph ranks for {speed:,.0f} users per CPU second."
    )
    yield ""
    yield from table(("method", "NDCG@100", "recall@20", "recall@50", "CPU seconds"), rows)


if __name__ == "__main__":
    main()

"""Compare the features of `masked_ae` and `denoising_ae` by classifiers; writes docs/benchmarks.md.

python -m benchmarks.features
python -m benchmarks.features --only 44_Wilt --seeds 1 --wide --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Layout
from aepipe.metrics.ranking import auroc
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from benchmarks import adult
from benchmarks.claims import Labels, Parts, split
from benchmarks.command import PAGE, chosen
from benchmarks.detection_tables import PATH_VARIABLE, at_most, data_path, load
from benchmarks.page import put_into, table
from benchmarks.store import machine

NAME = "features"
OURS, PLAIN, WIDE = "masked_ae", "denoising_ae", "denoising_ae, as many latents as columns"
TABLES = ("adult", "5_campaign", "11_donors", "23_mammography", "24_mnist", "25_musk", "35_SpamBase", "44_Wilt")
_MOST_ROWS = 2_000
_MOST_LATENTS = 64
_TARGET = "income"


class Figures(NamedTuple):
    """AUROC of two classifiers on held-out rows."""

    linear: float
    booster: float

    @property
    def mean(self) -> float:
        """Mean of both."""
        return (self.linear + self.booster) / 2


Found = Mapping[str, Sequence[Figures]]
"""Figures of each kind of features, one per seed."""


def read(data: Path, name: str) -> tuple[pa.Table, Labels]:
    """Return the columns of at most 2,000 rows of a table, and their labels: a high income, or ADBench's anomalies."""
    if name == "adult":
        rows = adult.read(adult.data_path())
        rows = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)[:_MOST_ROWS]))
        labels = np.array([">" in value for value in rows[_TARGET].to_pylist()])
        return rows.drop_columns([_TARGET]), labels.astype(np.int64)
    few = at_most(load(data, name), _MOST_ROWS, seed=0)
    return pa.table({f"c{at}": column for at, column in enumerate(few.rows.T)}), few.is_anomaly.astype(np.int64)


def section_of(kind: str, layout: Layout) -> Section:
    """Return the section [model] of a kind of features."""
    if kind == WIDE:
        return Section.model_validate({"family": PLAIN, "latent": min(_MOST_LATENTS, layout.features)})
    return Section.model_validate({"family": kind})


def trained(kind: str, parts: Parts, seed: int) -> Model:
    """Train the model of a kind of features."""
    model = families.build(parts.layout, section_of(kind, parts.layout), seed)
    fit(model, parts.learned, parts.dev, Train(seed=seed))
    return model.eval()


@torch.no_grad()
def figures(model: Model, parts: Parts) -> Figures:
    """Return the AUROC of a logistic regression and of a small booster on the latents."""
    known, held = (_latents(model, arrays) for arrays in (parts.learned, parts.held))
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    booster = HistGradientBoostingClassifier(max_iter=60, max_depth=4, random_state=0)
    return Figures(*(_auroc(each, known, held, parts) for each in (linear, booster)))


def _auroc(classifier: ClassifierMixin, known: NDArray[np.float64], held: NDArray[np.float64], parts: Parts) -> float:
    probabilities = classifier.fit(known, parts.known).predict_proba(held)
    return auroc(parts.wanted == 1, probabilities[:, 1])


def _latents(model: Model, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    row: Row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model.posterior(row).mean.double().numpy()


def verdict(found: Found, plain: str) -> str:
    """Compare `masked_ae` with other features: better or worse by more than two standard errors, or `=`."""
    gains = np.array([ours.mean - other.mean for ours, other in zip(found[OURS], found[plain], strict=True)])
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    if abs(gains.mean()) <= 2 * error or not gains.any():
        return "="
    return "better" if gains.mean() > 0 else "worse"


def main(words: Sequence[str] | None = None) -> None:
    """Measure every table, print and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=data_path(), help=f"folder of npz files; {PATH_VARIABLE}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables")
    parser.add_argument("--wide", action="store_true", help="also denoising_ae with as many latents as columns")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args(words)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    began, found = time.process_time(), dict[str, Found]()
    for name in (name for name in TABLES if name in chosen(TABLES, asked.only)):
        found[name] = measure(asked.data, name, asked.seeds, kinds=(OURS, PLAIN, WIDE) if asked.wide else (OURS, PLAIN))
        print(name, *(f"{np.mean([each.mean for each in those]):.4f}" for those in found[name].values()), flush=True)
    text = "\n".join(section(found, asked.seeds, time.process_time() - began))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name=NAME)


def measure(data: Path, name: str, seeds: int, *, kinds: Sequence[str]) -> Found:
    """Train each kind of model once per seed, and measure its features."""
    found: dict[str, list[Figures]] = {kind: [] for kind in kinds}
    rows, labels = read(data, name)
    for seed in range(seeds):
        parts = split(rows, labels, seed, learns_normal_rows=False)
        for kind, those in found.items():
            those.append(figures(trained(kind, parts, seed), parts))
    return found


def section(found: Mapping[str, Found], seeds: int, seconds: float) -> Iterator[str]:
    """Yield the lines of the section."""
    yield "## Features"
    yield ""
    yield (
        f"Made by `python -m benchmarks.features`, {datetime.now(UTC).date()}, {machine()}, one thread, "
        f"{seconds / 60:.0f} CPU minutes. AUROC of a logistic regression / of a gradient booster (60 trees of depth 4) "
        f"on the latents, for a high income in adult and the anomalies of ADBench's tables; at most {_MOST_ROWS:,} "
        f"rows, mean over {seeds} seeds, each with its own split: 60 % of the rows to learn from, 10 % to stop by, "
        "30 % held out. Both families with their defaults: `masked_ae` has twice as many latents as columns, at most "
        f"{_MOST_LATENTS}, `denoising_ae` a quarter, at most 16. Better, worse: the mean of both figures, by more than "
        "two standard errors of the paired differences; =: neither. The tables were not used to choose the defaults."
    )
    yield ""
    others = [kind for kind in next(iter(found.values())) if kind != OURS]
    verdicts = {name: [verdict(those, kind) for kind in others] for name, those in found.items()}
    rows = [(name, *map(_shown, those.values()), *verdicts[name]) for name, those in found.items()]
    yield from table(("table", OURS, *others, *(f"against {kind}" for kind in others)), rows)
    yield ""
    for kind, each in zip(others, zip(*verdicts.values(), strict=True), strict=True):
        counts = Counter(each)
        yield f"Against {kind}: better in {counts['better']}, equal in {counts['=']}, worse in {counts['worse']}."


def _shown(those: Sequence[Figures]) -> str:
    linear, booster = np.mean(those, axis=0)
    return f"{linear:.3f} / {booster:.3f}"


if __name__ == "__main__":
    main()

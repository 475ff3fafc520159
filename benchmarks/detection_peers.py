"""PyOD's detectors at their defaults, but for the seed.

PyOD is BSD-2-Clause: Zhao, Nasrullah & Li 2019. `pip install "aepipe[benchmarks]"` brings it.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.detection_detectors import Clock, Detector, Scored
from benchmarks.detection_tables import PROTOCOLS, Split, standardised

MISSING = 'PyOD is not installed, its rows are left out: pip install "aepipe[benchmarks]" (or pip install pyod)'


class Peer(NamedTuple):
    """A class of PyOD."""

    module: str
    kind: str
    options: Mapping[str, object]
    """options that change no number"""
    is_random: bool = False
    takes_standardised: bool = False
    """whether it uses distances in unscaled columns; it then gets standardised ones"""


SLOW_ROWS = 1_000

PEERS: Mapping[str, Peer] = {
    "pyod-knn": Peer("knn", "KNN", {}, takes_standardised=True),
    "pyod-lof": Peer("lof", "LOF", {}, takes_standardised=True),
    "pyod-iforest": Peer("iforest", "IForest", {}, is_random=True),
    "pyod-ecod": Peer("ecod", "ECOD", {}),
    "pyod-pca": Peer("pca", "PCA", {}, is_random=True),
    "pyod-ae": Peer("auto_encoder", "AutoEncoder", {"verbose": 0, "device": "cpu"}, is_random=True),
    "pyod-vae": Peer("vae", "VAE", {"verbose": 0, "device": "cpu"}, is_random=True),
    "pyod-inne": Peer("inne", "INNE", {}, is_random=True, takes_standardised=True),
    "pyod-dif": Peer("dif", "DIF", {"device": "cpu"}, is_random=True),
    "pyod-lunar": Peer("lunar", "LUNAR", {}, is_random=True),
}
"""AutoEncoder, VAE, PCA, DIF and LUNAR scale the columns themselves; IForest and ECOD look at one column at a time."""

MOST_ROWS: Mapping[str, int] = {"pyod-dif": SLOW_ROWS, "pyod-lunar": SLOW_ROWS}
"""Detectors that take 2 and 6 ms of CPU time per row."""


def detectors() -> list[Detector]:
    """Return all peers by the names of `PEERS`."""
    lacks = None if importlib.util.find_spec("pyod") else MISSING
    return [
        Detector(
            name, functools.partial(_run, peer), dict.fromkeys(PROTOCOLS, peer._asdict()), lacks, MOST_ROWS.get(name)
        )
        for name, peer in PEERS.items()
    ]


def make(peer: Peer, seed: int, **options: object) -> Any:
    """Return the detector, not fitted."""
    kind = getattr(importlib.import_module(f"pyod.models.{peer.module}"), peer.kind)
    seeded = {"random_state": seed} if peer.is_random else {}
    return kind(**peer.options, **seeded, **options)


def _run(peer: Peer, split: Split, seed: int, clock: Clock) -> Scored:
    """Score test rows; for training rows return the scores of PyOD's fit, in which no row is its own neighbour.

    LUNAR is the exception: there most training rows are their own first neighbours.
    """
    model = make(peer, seed)
    train, test = standardised(split.train, split.test) if peer.takes_standardised else (split.train, split.test)
    with clock.fitting():
        model.fit(train)
    with clock.scoring():
        scores = model.decision_function(test)
    return Scored(model.decision_scores_ if split.scores_own_rows else scores)

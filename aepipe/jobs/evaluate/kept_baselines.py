"""Fitted baselines and their scores of nights, kept with the outputs so that a report scores new nights only.

A file is used if its digest and its key are right. The key covers all that the content depends on.
"""

import io
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from aepipe.jobs.evaluate.isolation_forest import ForestArrays
from aepipe.storage import Manifest, ScoreDetails, digest_bytes, digest_of, put_if_changed
from aepipe.storage.paths import kept_baselines
from aepipe.versions import versions

log = logging.getLogger(__name__)

CONTRACT = "baselines/1"
"""Part of every key; increased when the same inputs would give other scores."""
MOST_KEPT_ROWS = 50_000

_PACKAGES = ("aepipe", "numpy", "onnxruntime", "pyarrow", "scikit-learn")
_DIGEST = len(digest_bytes(b""))

Floats = NDArray[np.float64]


class Fitted(NamedTuple):
    """Parameters of the baselines, learned from the training and calibration rows of a model."""

    mean: Floats
    """(D,), of each raw column without missing values"""
    centre: Floats
    """(D,), the mean of the filled rows"""
    spread: Floats
    """(D,), their standard deviation"""
    forest: ForestArrays
    calibration_rows: int
    thresholds: Mapping[str, float]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take the parameters from the arrays of a file."""
        names, thresholds = arrays["names"].tolist(), arrays["thresholds"].tolist()
        return cls(
            arrays["mean"],
            arrays["centre"],
            arrays["spread"],
            ForestArrays(*(arrays[f"forest_{name}"] for name in ForestArrays._fields)),
            int(arrays["calibration_rows"]),
            dict(zip(names, thresholds, strict=True)),
        )


class NightScores(NamedTuple):
    """Positions of scored rows in a night, (B,), ascending, and their scores by each baseline but the random one."""

    rows: NDArray[np.int64]
    scores: Floats
    """(K, B)"""

    def of(self, rows: NDArray[np.int64]) -> Floats | None:
        """Return the scores of these rows, (K, N); None if one of them has none."""
        at = np.searchsorted(self.rows, rows)
        if not len(self.rows) or not np.array_equal(self.rows[np.minimum(at, len(self.rows) - 1)], rows):
            return None
        return self.scores[:, at]


class KeptBaselines:
    """Fitted baselines of a model version, and the scores of the nights that were last shown.

    Args:
        path: the file, on a disk or in an object store.
        key: digest of all that the fit depends on.
        fitted: their parameters.
        nights: scores by the key of the night.
    """

    def __init__(self, path: Path, key: str, fitted: Fitted, nights: Mapping[str, NightScores]) -> None:
        self._path, self._key = path, key
        self.fitted = fitted
        self.nights = nights

    @classmethod
    def new(cls, out: Path, version: str, key: str, fitted: Fitted) -> Self:
        """Keep baselines that were fitted now, without scores."""
        made = cls(kept_baselines(out, version), key, fitted, {})
        made.keep({})
        return made

    @classmethod
    def open(cls, out: Path, version: str, key: str) -> Self | None:
        """Open what is kept for a model version; None if there is nothing, it is damaged, or it has another key."""
        path = kept_baselines(out, version)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST], data[_DIGEST:]
        if digest_bytes(content).encode() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return cls(path, key, Fitted.of(arrays), nights_of(arrays))

    def keep(self, nights: Mapping[str, NightScores]) -> None:
        """Keep the scores of these nights only, if they are not too many. A fault only costs computing them again."""
        rows = sum(len(each.rows) for each in nights.values())
        self.nights = nights if rows <= MOST_KEPT_ROWS else {}
        data = packed(arrays_of(self._key, self.fitted, self.nights))
        try:
            put_if_changed(self._path, digest_bytes(data).encode() + data)
        except OSError as error:
            log.info("the baselines were not kept: %s", error)


def baselines_key(pca: str, training_key: str, *, alpha: float) -> str:
    """Return the digest of what fitted baselines depend on.

    Args:
        pca: version of the PCA bundle.
        training_key: digest of its job and of the training data.
        alpha: of the thresholds.
    """
    return digest_of(CONTRACT, str(sorted(versions(_PACKAGES).items())), pca, training_key, repr(alpha))


def night_key(manifest: Manifest[ScoreDetails]) -> str:
    """Return the digest of the source of a night, whose files are known to be the ones that were scored."""
    return digest_of(*manifest.details.inputs.values())


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the arrays as `numpy.savez` writes them, without the time: equal arrays give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, np.array(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), file.getvalue())
    return packed.getvalue()


def arrays_of(key: str, fitted: Fitted, nights: Mapping[str, NightScores]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file."""
    found: dict[str, NDArray[Any]] = {"key": np.array(key)}
    found |= {name: getattr(fitted, name) for name in ("mean", "centre", "spread")}
    found |= {f"forest_{name}": array for name, array in fitted.forest._asdict().items()}
    found["calibration_rows"] = np.array(fitted.calibration_rows)
    found["names"] = np.array(list(fitted.thresholds))
    found["thresholds"] = np.array(list(fitted.thresholds.values()))
    if nights:
        found["nights"] = np.array(list(nights))
        found["lengths"] = np.array([len(each.rows) for each in nights.values()])
        found["rows"] = np.concatenate([each.rows for each in nights.values()])
        found["scores"] = np.concatenate([each.scores for each in nights.values()], axis=1)
    return found


def nights_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NightScores]:
    """Take the scores of nights from the arrays of a file."""
    if "nights" not in arrays:
        return {}
    ends: Sequence[int] = np.cumsum(arrays["lengths"])[:-1].tolist()
    rows, scores = np.split(arrays["rows"], ends), np.split(arrays["scores"], ends, axis=1)
    keys = arrays["nights"].tolist()
    return {key: NightScores(*each) for key, *each in zip(keys, rows, scores, strict=True)}

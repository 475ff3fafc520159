"""What a scorer's answers mean: p-values, alarms, and rows that cannot be scored."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.inference.output_schema import Predictions, score_columns
from aepipe.tables.arrow_arrays import texts_of

NOT_FINITE = "the score is not finite"


class PostProcessor:
    """The calibration of a bundle and its words."""

    def __init__(self, bundle: Bundle) -> None:
        self.invalid_reasons = (*bundle.encoding.invalid_reasons, NOT_FINITE)
        self._calibration = bundle.calibration
        self._features = tuple(bundle.manifest.latent.features)
        self._reason_names = texts_of(bundle.manifest.reason_names)
        self._open_set = bundle.manifest.open_set
        self._class_names = texts_of(() if self._open_set is None else self._open_set.answers)
        self._invalid_column = texts_of(self.invalid_reasons)

    def answers(self, found: Mapping[str, NDArray[np.generic]], invalid: NDArray[np.int16]) -> Predictions:
        """What is known of rows. found: the scorer's outputs; invalid: (B,), changed where a score is not finite."""
        score = found["score"].astype(np.float32, copy=False)
        finite = np.isfinite(score)
        if not finite.all():
            invalid[~finite & (invalid == 0)] = len(self.invalid_reasons) - 1
        p_value = self._calibration.p_values(score)
        is_anomaly = self._calibration.is_anomaly(p_value)
        p_extrapolated = self._calibration.is_extrapolated(score)
        if invalid.any():
            is_anomaly &= invalid == 0
            p_extrapolated &= invalid == 0
        none = np.empty((len(score), 0), np.int32)
        return Predictions(
            features=tuple(found[output] for output in self._features),
            score=score,
            reason=found.get("reason", none),
            reason_z=found.get("reason_z", none),
            predicted=self._predicted(found, none),
            confidence=found.get("class_confidence", none),
            p_value=p_value,
            p_extrapolated=p_extrapolated,
            is_anomaly=is_anomaly,
            invalid=invalid,
        )

    def columns(self, answers: Predictions) -> list[pa.Array]:
        """The columns of `score_fields`."""
        return score_columns(
            answers,
            reason_names=self._reason_names,
            class_names=self._class_names,
            invalid_reasons=self._invalid_column,
        )

    def _predicted(self, found: Mapping[str, NDArray[np.generic]], none: NDArray[np.generic]) -> NDArray[np.generic]:
        if self._open_set is None:
            return none
        return self._open_set.codes(found["class"], found["class_confidence"])

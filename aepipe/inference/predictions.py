"""Post-processing of scorer outputs: p-values, flags, classes and invalid rows."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.inference.output_schema import CellPredictions, Predictions, feature_columns, score_columns
from aepipe.tables.arrow_arrays import texts_of
from aepipe.tables.entities import Entities

NOT_FINITE = "the score is not finite"


class PostProcessor:
    """Post-processing by the calibration of a bundle; knows the columns of the outputs too."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._calibration = bundle.calibration
        self._open_set = manifest.open_set
        self._invalid_reasons = (*bundle.encoding.invalid_reasons, NOT_FINITE)
        self._reason_names = manifest.reason_names
        self._features = tuple(manifest.latent.features)
        self.score_columns = score_columns(
            bundle.reasons,
            reason_names=texts_of(manifest.reason_names),
            class_names=None if self._open_set is None else texts_of(self._open_set.answers),
            invalid_reasons=texts_of(self._invalid_reasons),
            has_cells=self._calibration.cells is not None,
        )
        ports = {port.name: port for port in bundle.part("scorer")[1].outputs}
        self.feature_columns = feature_columns(ports, manifest.latent.features)

    def predict(
        self,
        outputs: Mapping[str, NDArray[np.generic]],
        invalid: NDArray[np.int16],
        entities: Entities | None = None,
    ) -> Predictions:
        """Turn scorer outputs into predictions.

        Args:
            outputs: arrays (B, ...) by output port of the scorer.
            invalid: (B,), codes of the encoding; set in place where a score is not finite.
            entities: entity of each row, for thresholds per entity; None: rows of no known entity.
        """
        score = outputs["score"].astype(np.float32, copy=False)
        finite = np.isfinite(score)
        if not finite.all():
            invalid[~finite & (invalid == 0)] = len(self._invalid_reasons) - 1
        p_value = self._calibration.p_values(score, entities)
        is_anomaly = self._calibration.is_anomaly(p_value)
        p_extrapolated = self._calibration.is_extrapolated(score, entities)
        cells = self._cells(outputs)
        if cells is not None:
            is_anomaly |= cells.is_anomaly
        if invalid.any():
            is_anomaly &= invalid == 0
            p_extrapolated &= invalid == 0
            if cells is not None:
                cells.is_anomaly[invalid != 0] = False
        absent = np.empty((len(score), 0), np.int32)
        classes = self._open_set
        return Predictions(
            features=tuple(outputs[port] for port in self._features),
            score=score,
            reason=outputs.get("reason", absent),
            reason_z=outputs.get("reason_z", absent),
            predicted=absent if classes is None else classes.codes(outputs["class"], outputs["class_confidence"]),
            confidence=outputs.get("class_confidence", absent),
            p_value=p_value,
            p_extrapolated=p_extrapolated,
            is_anomaly=is_anomaly,
            invalid=invalid,
            cells=cells,
        )

    def _cells(self, outputs: Mapping[str, NDArray[np.generic]]) -> CellPredictions | None:
        calibration = self._calibration
        if calibration.cells is None:
            return None
        columns, scores = outputs["cell"], outputs["cell_z"].astype(np.float32, copy=False)
        # A broken relation shows in all of its columns; the first reason tells which one explains the others.
        is_reason = (columns == outputs["reason"][:, :1]) & (scores >= scores[:, :1] / 2)
        column = np.take_along_axis(columns, is_reason.argmax(axis=1)[:, None], axis=1)[:, 0]
        p_value = calibration.cells.p_values(scores[:, 0])
        return CellPredictions(column, scores[:, 0], p_value, calibration.is_cell_anomaly(p_value))

    @staticmethod
    def lowest_p(predictions: Predictions) -> float:
        """Return the least p-value of a row or cell with a score; infinity without any."""
        valid, cells = predictions.invalid == 0, predictions.cells
        lowest = predictions.p_value.min(initial=np.inf, where=valid)
        return float(lowest if cells is None else cells.p_value.min(initial=lowest, where=valid))

    def count_reasons(self, predictions: Predictions) -> dict[str, int]:
        """Count the flagged rows, by first reason; empty for a model without reasons."""
        if not (predictions.reason.shape[1] and predictions.is_anomaly.any()):
            return {}
        counts = np.bincount(predictions.reason[predictions.is_anomaly, 0], minlength=len(self._reason_names))
        return {self._reason_names[index]: int(counts[index]) for index in np.flatnonzero(counts)}

    def count_invalid(self, predictions: Predictions) -> dict[str, int]:
        """Count the invalid rows, by reason."""
        if not predictions.invalid.any():
            return {}
        counts = np.bincount(predictions.invalid, minlength=len(self._invalid_reasons))
        return {self._invalid_reasons[code]: int(counts[code]) for code in np.flatnonzero(counts[1:]) + 1}

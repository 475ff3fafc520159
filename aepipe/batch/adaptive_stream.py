"""Adaptive flags along a stream of partitions, and the state that one partition hands to the next."""

import logging

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.adaptive import Adaptive, State
from aepipe.inference.output_schema import Predictions
from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails, StreamDetails
from aepipe.tables.partitions import natural_order

log = logging.getLogger(__name__)


class AdaptiveStream:
    """Flags of the blocks of one partition, in their order, in place of the fixed threshold.

    Args:
        alpha: share of rows to flag in the long run.
        state: state after the partition before.
        after: name of the partition before; None at the start of a stream.
    """

    def __init__(self, alpha: float, state: State, *, after: str | None) -> None:
        self._adaptive = Adaptive(alpha, state)
        self._after = after

    def flag(self, predictions: Predictions) -> NDArray[np.bool_]:
        """Flag the next rows, (B,); invalid rows are not flagged and do not change the state."""
        return self._adaptive.flags(np.where(predictions.invalid == 0, predictions.score, np.nan))

    @property
    def details(self) -> StreamDetails:
        """State after the partition, for its manifest."""
        state = self._adaptive.state
        return StreamDetails(after=self._after, alpha=state.alpha, scores=state.scores)


def stream_before(outputs: Outputs, partition: str, bundle: Bundle) -> AdaptiveStream:
    """Return the stream after the latest earlier partition with the same model and calibration.

    A partition that arrives late continues from the one before it; later partitions stay as they are.
    """
    calibration = bundle.calibration
    order = natural_order(partition)
    earlier = sorted((name for name in outputs.partitions(SCORE) if natural_order(name) < order), key=natural_order)
    for name in reversed(earlier):
        manifest = outputs.manifest(SCORE, name)
        state = None if manifest is None else _state_after(manifest, bundle)
        if state is not None:
            return AdaptiveStream(calibration.alpha, state, after=name)
    return AdaptiveStream(calibration.alpha, State.of(calibration), after=None)


def _state_after(manifest: Manifest[ScoreDetails], bundle: Bundle) -> State | None:
    """Return the state after a partition; None if another model or calibration scored it, or flags did not adapt."""
    details = manifest.details
    is_same = manifest.model_version == bundle.version and details.calibration == bundle.calibration.digest
    if not is_same or details.stream is None:
        return None
    try:
        return State(alpha=details.stream.alpha, scores=details.stream.scores)
    except ValidationError:
        log.warning("%s: the state of its adaptive stream is invalid and is skipped", manifest.partition)
        return None

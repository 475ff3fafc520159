"""The stream that partitions make: flags that adapt along it, and what one partition hands to the next."""

import logging

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from aepipe.batch.block_scorer import ScoredBlock
from aepipe.bundles.bundle import Bundle
from aepipe.calibration.adaptive import Adaptive, State
from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails, StreamDetails
from aepipe.tables.arrow_arrays import array_of
from aepipe.tables.partitions import natural_order

log = logging.getLogger(__name__)


class AdaptiveStream:
    """Judges the blocks of one partition in their order, in place of the fixed threshold."""

    def __init__(self, alpha: float, state: State, *, after: str | None) -> None:
        self._judge = Adaptive(alpha, state)
        self._after = after

    def judge(self, scored: ScoredBlock) -> None:
        """Replaces `is_anomaly` in the rows of a block, and their count."""
        rows = scored.rows["scores"]
        score = rows["score"].to_numpy(zero_copy_only=False)
        flags = self._judge.flags(score)
        at = rows.schema.get_field_index("is_anomaly")
        scored.rows["scores"] = rows.set_column(at, rows.schema.field(at), array_of(flags, pa.bool_()))
        scored.stats.flagged = int(np.count_nonzero(flags))

    @property
    def details(self) -> StreamDetails:
        """State after the partition, for its manifest."""
        state = self._judge.state
        return StreamDetails(after=self._after, alpha=state.alpha, scores=state.scores)


def stream_before(outputs: Outputs, partition: str, bundle: Bundle) -> AdaptiveStream:
    """The stream as it stood after the latest partition before this one, of the same model and calibration.

    A partition that comes late goes on from the one before it, and later ones stay as they are.
    """
    calibration = bundle.calibration
    place = natural_order(partition)
    earlier = sorted((name for name in outputs.partitions(SCORE) if natural_order(name) < place), key=natural_order)
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

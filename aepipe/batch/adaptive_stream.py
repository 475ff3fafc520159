"""The stream that partitions make: flags that adapt along it, and what one partition hands to the next."""

import logging
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from aepipe.batch.block_scorer import ScoredBlock
from aepipe.bundles.bundle import Bundle
from aepipe.calibration.adaptive import Adaptive, State
from aepipe.storage import Manifest, Outputs
from aepipe.tables.arrow_arrays import array_of
from aepipe.tables.partitions import natural_order

log = logging.getLogger(__name__)

STREAM = "stream"
"""Where a manifest's details keep the state after the partition."""


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

    def details(self) -> dict[str, Any]:
        """For the manifest."""
        return {"after": self._after, **self._judge.state.model_dump()}


def stream_before(outputs: Outputs, partition: str, bundle: Bundle) -> AdaptiveStream:
    """The stream as it stood after the latest partition before this one, of the same model and calibration.

    A partition that comes late goes on from the one before it, and later ones stay as they are.
    """
    calibration = bundle.calibration
    place = natural_order(partition)
    earlier = sorted((name for name in outputs.names() if natural_order(name) < place), key=natural_order)
    for name in reversed(earlier):
        manifest = outputs.manifest(name)
        state = None if manifest is None else _state(manifest, bundle)
        if state is not None:
            return AdaptiveStream(calibration.alpha, state, after=name)
    return AdaptiveStream(calibration.alpha, State.of(calibration), after=None)


def _state(manifest: Manifest, bundle: Bundle) -> State | None:
    """None where the partition was scored otherwise, and where its state cannot be read."""
    details = manifest.details
    kept = details.get(STREAM)
    same = manifest.model_version == bundle.version and details.get("calibration") == bundle.calibration.digest
    if not same or not isinstance(kept, dict):
        return None
    try:
        return State.model_validate({key: value for key, value in kept.items() if key != "after"})
    except ValidationError:
        log.warning("%s: the state of the stream after it cannot be read, and is passed over", manifest.partition)
        return None

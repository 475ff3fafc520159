"""One block of rows, scored: Arrow rows in, the rows of the outputs out."""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.run_stats import RunStats
from aepipe.batch.scan_plan import passthrough_columns
from aepipe.bundles.bundle import Bundle
from aepipe.errors import SchemaMismatch
from aepipe.inference.batch_runner import Runner
from aepipe.inference.output_schema import Predictions, Sheet, feature_columns, feature_fields, score_fields
from aepipe.inference.predictions import PostProcessor
from aepipe.inference.session import Session
from aepipe.layout import Port

# Rows are encoded four batches at a time: with ten categories that takes .24 us a row, where one at a time takes .35.
_ENCODED_BATCHES = 4


class Buffers:
    """Where the answers to at most `rows` rows are written, columns contiguous as Parquet wants them."""

    def __init__(self, outputs: tuple[Port, ...], rows: int) -> None:
        self.answers = {port.name: np.empty((rows, *port.row_shape), port.dtype, order="F") for port in outputs}
        self.invalid = np.empty(rows, np.int16)


class ScoredBlock(NamedTuple):
    """Rows of the outputs. They lie in buffers and are gone when those are used again."""

    rows: dict[str, pa.RecordBatch]
    stats: RunStats


class BlockScorer:
    """Scores blocks of one partition; knows no file and no thread.

    carried: the columns that go through to the outputs. Raises SchemaMismatch where their names are taken.
    """

    def __init__(self, bundle: Bundle, carried: tuple[pa.Field, ...], *, features: bool) -> None:
        self._encoding = bundle.encoding
        self._judge = PostProcessor(bundle)
        self._carried = carried
        self.outputs = tuple(bundle.part("scorer")[1].outputs)
        self.sheets = self._make_sheets(bundle, features)

    @property
    def answer_bytes(self) -> int:
        """Bytes of the answers to one row."""
        return sum(np.dtype(port.dtype).itemsize * math.prod(port.row_shape) for port in self.outputs)

    def buffers(self, rows: int) -> Buffers:
        """Room for a block."""
        return Buffers(self.outputs, rows)

    def score(self, batch: pa.RecordBatch, buffers: Buffers, runner: Runner[Session]) -> ScoredBlock:
        """The outputs of the rows of a batch, in their order."""
        stats = RunStats(rows=batch.num_rows)
        self._infer(batch, buffers, runner, stats)
        with stats.timed("write"):
            found = {name: values[: batch.num_rows] for name, values in buffers.answers.items()}
            answers = self._judge.answers(found, buffers.invalid[: batch.num_rows])
            stats.flagged = int(np.count_nonzero(answers.is_anomaly))
            self._count_invalid(answers.invalid, stats)
            return ScoredBlock(self._sheet_rows(batch, answers), stats)

    def _infer(self, batch: pa.RecordBatch, buffers: Buffers, runner: Runner[Session], stats: RunStats) -> None:
        at = 0
        while at < batch.num_rows:
            rows = batch.slice(at, _ENCODED_BATCHES * runner.batch_rows)
            end = at + rows.num_rows
            with stats.timed("encode"):
                encoded = self._encoding.encode(rows)
            with stats.timed("infer"):
                runner.run_into(encoded.arrays, {name: values[at:end] for name, values in buffers.answers.items()})
            buffers.invalid[at:end] = encoded.invalid
            stats.unseen.update(encoded.unseen)
            at = end

    def _count_invalid(self, invalid: NDArray[np.int16], stats: RunStats) -> None:
        if invalid.any():
            counts = np.bincount(invalid, minlength=len(self._judge.invalid_reasons))
            met = np.flatnonzero(counts[1:]) + 1
            stats.invalid.update({self._judge.invalid_reasons[code]: int(counts[code]) for code in met})

    def _sheet_rows(self, batch: pa.RecordBatch, answers: Predictions) -> dict[str, pa.RecordBatch]:
        carried = passthrough_columns(batch, self._carried)
        rows = {"scores": self.sheets["scores"].rows(carried, self._judge.columns(answers))}
        if "features" in self.sheets:
            rows["features"] = self.sheets["features"].rows(carried, feature_columns(answers))
        return rows

    def _make_sheets(self, bundle: Bundle, features: bool) -> dict[str, Sheet]:
        ports = {port.name: port for port in self.outputs}
        sheets = {
            "scores": Sheet(
                self._carried,
                score_fields(bundle.reasons, classes=bundle.manifest.open_set is not None),
                model_version=bundle.version,
            )
        }
        if features:
            labels = bundle.encoding.schema.labels
            carried = [field for field in self._carried if field.name not in labels]
            own = feature_fields(ports, bundle.manifest.latent.features)
            sheets["features"] = Sheet(carried, own, model_version=bundle.version)
        _refuse_doubles(sheets)
        return sheets


def _refuse_doubles(sheets: dict[str, Sheet]) -> None:
    faults = []
    for output, sheet in sheets.items():
        names = sheet.schema.names
        doubles = [name for name in sheet.carried if names.count(name) > 1]
        faults += [f"column '{name}' has the name of a column of {output}: rename it in the source" for name in doubles]
    if faults:
        raise SchemaMismatch("the keys and labels cannot be carried through:", faults)

"""Columns that hold ground truth."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.tables.arrow_types import sort_of
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.roles.sampled_values import joined, numbers_of, words_of

_TRUTH = re.compile(r"label|labels|target|ground_truth|groundtruth|truth|y|y_true|class")
_ANOMALY = re.compile(
    r"anomaly|anomalous|abnormal|outlier|novelty|fraud|fraudulent|attack|intrusion|malicious|malware|spam|"
    r"scam|failure|fault|faulty|defect|defective|churn|churned|default|defaulted|chargeback|tampered"
)
_MARKS = re.compile(r"is|has|was|flag|label|labels|class|target|true|gt|ind|indicator")
_MULTI = re.compile(r"label|labels|target|ground_truth|groundtruth|truth")
_MOST_CLASSES = 50


def propose_label(name: str, column: pa.ChunkedArray) -> Proposal | None:
    """Propose a column as ground truth if name and values say so; None if they do not."""
    words = words_of(name)
    whole = "_".join(words)
    core = [word for word in words if not _MARKS.fullmatch(word)]
    by_name = _TRUTH.fullmatch(whole) or (len(core) == 1 and _ANOMALY.fullmatch(core[0]))
    sort = sort_of(column.type)
    if not by_name or sort not in ("boolean", "number", "text", "null"):
        return None
    values = pc.unique(joined([column])).drop_null()
    if sort == "number" and any(value != int(value) for value in numbers_of(column)[:10_000]):
        return None
    named = f"named like ground truth, with {len(values)} sampled value{'s' * (len(values) != 1)}"
    if len(values) == 2 or (len(values) < 2 and whole not in ("y", "class")):
        return Proposal(name, "label", named)
    if _MULTI.fullmatch(whole) and len(values) <= min(_MOST_CLASSES, max(2, len(column) // 5)):
        return Proposal(name, "label", named)
    return None

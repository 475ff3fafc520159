"""Whether an ONNX file answers as its torch module does, at several numbers of rows. Nothing here exports."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from aepipe.models.base import Part

ROWS = (1, 7, 512)
"""One row, an odd handful, and a batch: a batch axis that is not free, or counts in an answer, shows in one of them."""

MOST_DIFFERING = 0.001
"""Share of integers (codes, reasons) and of missing values that may differ: on an edge, rounding decides."""

CODES = "z"
"""The output that holds a row's codes where it is of integers: the nearest of two almost as near may be either."""

Array = NDArray[np.generic]
Answers = Mapping[str, Array]
Differences = dict[str, float]
"""Of one output: the greatest `abs` and `rel` difference of reals, or the share of integers that `differ`."""


class Parity(NamedTuple):
    """By number of rows and output, how far apart the answers were; and what of it is too far, a sentence each."""

    differences: dict[str, dict[str, Differences]]
    faults: tuple[str, ...]


def check_parity(part: Part, onnx: bytes, inputs: Sequence[Array]) -> Parity:
    """How far the graph's answers are from the module's, on the first rows of `inputs`, which hold 512 each.

    A real x may be off by rtol |x| + atol times the mean size of its column, so that every unit is measured alike; or
    times the column's spread among training rows, where that is known and the answers happen to be close to zero.
    Where a row's codes came out otherwise, what follows from them is not compared: so few rows may be so.
    """
    session = _session(onnx)
    sizes = {
        name: np.maximum(_typical_size(answer, shared=name == CODES), part.scales.get(name, 0.0))
        for name, answer in torch_outputs(part, inputs).items()
    }
    differences: dict[str, dict[str, Differences]] = {}
    faults = []
    for rows in ROWS:
        first = [np.ascontiguousarray(array[:rows]) for array in inputs]
        wanted, found = torch_outputs(part, first), _onnx_outputs(part, session, first)
        of_rows = differences[str(rows)] = {}
        alike = _of_same_codes(part, wanted, found)
        for name in wanted:
            one, other = (wanted, found) if name == CODES else alike
            of_rows[name], fault = _compare(part, name, one, other, size=sizes[name])
            if fault:
                faults.append(f"{part.name}.{name} at {rows} rows {fault}")
    return Parity(differences, tuple(faults))


@torch.no_grad()
def torch_outputs(part: Part, inputs: Sequence[Array]) -> dict[str, Array]:
    """What the module says, by the names of the part's outputs."""
    answer = part.module(*(torch.from_numpy(array) for array in inputs))
    tensors = answer if isinstance(answer, tuple) else (answer,)
    return {port.name: tensor.numpy() for port, tensor in zip(part.outputs, tensors, strict=True)}


def _onnx_outputs(part: Part, session: ort.InferenceSession, inputs: Sequence[Array]) -> dict[str, Array]:
    names = [port.name for port in part.outputs]
    answers = session.run(names, {port.name: array for port, array in zip(part.inputs, inputs, strict=True)})
    return dict(zip(names, answers, strict=True))


def _session(onnx: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _of_same_codes(part: Part, wanted: Answers, found: Answers) -> tuple[Answers, Answers]:
    """The answers on rows whose codes are the same in both; all of them where there are no codes."""
    if not (CODES in wanted and np.issubdtype(wanted[CODES].dtype, np.integer)):
        return wanted, found
    if any(wanted[name].shape != found[name].shape for name in wanted):
        return wanted, found
    differs = _far(part, wanted[CODES], found[CODES])
    same = ~differs.reshape(len(differs), -1).any(axis=1)
    one, other = ({name: answer[same] for name, answer in answers.items()} for answers in (wanted, found))
    return one, other


def _far(part: Part, one: Array, other: Array) -> NDArray[np.bool_]:
    return np.asarray(np.abs(one.astype(np.int64) - other.astype(np.int64)) > part.atol)


def _typical_size(answer: Array, *, shared: bool) -> NDArray[np.float64]:
    """Return the mean size of each column of an answer; that of all columns where one is nothing but zeros.

    shared: whether columns have one unit, as latents do: none is smaller than the mean of all then.
    """
    sizes = np.nan_to_num(np.abs(answer.astype(np.float64))).mean(axis=0)
    if shared and sizes.size:
        sizes = np.maximum(sizes, sizes.mean())
    return np.asarray(np.where(sizes > 0, sizes, (float(sizes.mean()) if sizes.size else 0.0) or 1.0))


def _compare(
    part: Part, name: str, wanted: Answers, found: Answers, *, size: NDArray[np.float64]
) -> tuple[Differences, str | None]:
    """The differences of one output, and what is wrong with them."""
    one, other = wanted[name], found[name]
    if one.shape != other.shape or one.dtype != other.dtype:
        return {}, f"is {other.dtype}{other.shape} in the graph, {one.dtype}{one.shape} in torch"
    if name == CODES and np.issubdtype(one.dtype, np.integer):
        return _share_of_codes(_far(part, one, other))
    if name in part.chained:
        return _share_of_rows(_far(part, one, other))
    if np.issubdtype(one.dtype, np.integer):
        return _share(_far(part, one, other) & ~_tied(name, wanted, found, part))
    return _compare_reals(one.astype(np.float64), other.astype(np.float64), part, size)


def _share(differs: NDArray[np.bool_]) -> tuple[Differences, str | None]:
    share = float(differs.mean()) if differs.size else 0.0
    return {"differ": share}, f"differs in {100 * share:.2f} % of its integers" if share > MOST_DIFFERING else None


def _share_of_rows(differs: NDArray[np.bool_]) -> tuple[Differences, str | None]:
    """Of rows (B, C) whose columns follow from each other; one may always differ, which is much of a handful."""
    rows: NDArray[np.bool_] = np.asarray(differs.reshape(len(differs), -1).any(axis=1))
    fault = f"differs in {rows.sum()} of {len(rows)} rows" if rows.sum() > max(1, MOST_DIFFERING * len(rows)) else None
    return {"differ": float(rows.mean())}, fault


def _share_of_codes(differs: NDArray[np.bool_]) -> tuple[Differences, str | None]:
    """Of codes (B, P), up to the first of a row that differs: what is drawn after it is drawn from something else.

    One may always differ: in a handful of rows it is more than the share.
    """
    compared: NDArray[np.bool_] = np.equal(np.cumsum(differs, axis=1), differs)
    apart, count = int((differs & compared).sum()), max(1, int(compared.sum()))
    fault = f"differs in {100 * apart / count:.2f} % of its codes" if apart > max(1, MOST_DIFFERING * count) else None
    return {"differ": apart / count}, fault


def _compare_reals(
    one: NDArray[np.float64], other: NDArray[np.float64], part: Part, size: NDArray[np.float64]
) -> tuple[Differences, str | None]:
    apart = np.isnan(one) != np.isnan(other)
    if apart.size and apart.mean() > MOST_DIFFERING:
        return {"differ": float(apart.mean())}, f"is missing elsewhere in {100 * apart.mean():.2f} % of its values"
    gap = np.where(np.isnan(one) | np.isnan(other) | (one == other), 0.0, np.abs(one - other))
    allowed = part.rtol * np.nan_to_num(np.abs(one)) + part.atol * size
    relative = gap / (np.nan_to_num(np.abs(one)) + size)
    differences = {"abs": float(gap.max(initial=0)), "rel": float(relative.max(initial=0))}
    if (gap <= allowed).all():
        return differences, None
    return differences, f"is off by {differences['abs']:.3g}, {differences['rel']:.3g} of its size"


def _tied(name: str, wanted: Answers, found: Answers, part: Part) -> NDArray[np.bool_]:
    """Where an index stands for a value (`reason` for `reason_z`) that ties with the next: they may change places."""
    if (ranked := f"{name}_z") not in wanted:
        return np.zeros(wanted[name].shape, dtype=bool)
    values = wanted[ranked].astype(np.float64)
    near = 10 * part.rtol * np.maximum(1.0, np.abs(values))
    with_next = np.ones_like(values, dtype=bool)  # the last one may tie with one that is not among the answers
    with_next[:, :-1] = np.abs(np.diff(values, axis=1)) <= near[:, :-1]
    with_previous = np.zeros_like(with_next)
    with_previous[:, 1:] = with_next[:, :-1]
    same_values = np.abs(values - found[ranked].astype(np.float64)) <= near
    return np.asarray((with_next | with_previous) & same_values)

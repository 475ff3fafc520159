"""Parity check of an ONNX file against its torch module at several batch sizes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from aepipe.models.base import Part

ROWS = (1, 7, 512)
"""Batch sizes that reveal a fixed batch axis, or outputs that depend on the batch size."""

MOST_DIFFERING = 0.001
"""Share of integers (codes, reasons) and missing values that may differ, since rounding decides ties."""

CODES = "z"
"""Output that holds the codes of a row if it has an integer type; the nearest code may be a tie."""

Array = NDArray[np.generic]
Answers = Mapping[str, Array]
Differences = dict[str, float]
"""Greatest `abs` and `rel` difference of a real output, or share of integers that `differ`."""


class Parity(NamedTuple):
    """Differences per batch size and output, and a sentence per difference beyond tolerance."""

    differences: dict[str, dict[str, Differences]]
    faults: tuple[str, ...]


def check_parity(part: Part, onnx: bytes, inputs: Sequence[Array]) -> Parity:
    """Compare the outputs of the graph with the outputs of the module.

    The tolerance of a real x is rtol |x| + atol times the mean size of its column, or times the spread of the column
    among training rows if that is known and greater. Outputs that depend on codes are compared only on rows with equal
    codes.

    Args:
        part: Part with its module, ports and tolerances.
        onnx: Bytes of the ONNX file.
        inputs: 512 rows of each input.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    sizes = {
        name: np.maximum(_typical_size(answer, shared=name == CODES), part.scales.get(name, 0.0))
        for name, answer in torch_outputs(part, inputs).items()
    }
    differences: dict[str, dict[str, Differences]] = {}
    faults = []
    for rows in ROWS:
        first = [np.ascontiguousarray(array[:rows]) for array in inputs]
        feeds = {port.name: array for port, array in zip(part.inputs, first, strict=True)}
        names = [port.name for port in part.outputs]
        wanted, found = torch_outputs(part, first), dict(zip(names, session.run(names, feeds), strict=True))
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
    """Run the module and return its outputs by port name."""
    answer = part.module(*(torch.from_numpy(array) for array in inputs))
    tensors = answer if isinstance(answer, tuple) else (answer,)
    return {port.name: tensor.numpy() for port, tensor in zip(part.outputs, tensors, strict=True)}


def _of_same_codes(part: Part, wanted: Answers, found: Answers) -> tuple[Answers, Answers]:
    """Select the rows with equal codes; return all rows if the part has no codes."""
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
    """Return the mean size of each column of an answer; or the mean over all columns for an all-zero column.

    Args:
        answer: Output of a part, (B, ...).
        shared: Whether the columns share a unit, as latents do; the mean over all columns is then a lower bound.
    """
    sizes = np.nan_to_num(np.abs(answer.astype(np.float64))).mean(axis=0)
    if shared and sizes.size:
        sizes = np.maximum(sizes, sizes.mean())
    return np.asarray(np.where(sizes > 0, sizes, (float(sizes.mean()) if sizes.size else 0.0) or 1.0))


def _compare(
    part: Part, name: str, wanted: Answers, found: Answers, *, size: NDArray[np.float64]
) -> tuple[Differences, str | None]:
    """Return the differences of one output, and the fault if they exceed the tolerance."""
    one, other = wanted[name], found[name]
    if one.shape != other.shape or one.dtype != other.dtype:
        return (
            {},
            f"has another type or shape: expected {one.dtype}{one.shape} as in torch, got {other.dtype}{other.shape}",
        )
    if name == CODES and np.issubdtype(one.dtype, np.integer):
        return _share_of_codes(_far(part, one, other))
    if name in part.chained:
        return _share_of_rows(_far(part, one, other), draws=part.draws)
    if np.issubdtype(one.dtype, np.integer):
        differs = _far(part, one, other) & ~_tied(name, wanted, found, part)
        share = float(differs.mean()) if differs.size else 0.0
        return {"differ": share}, _too_many(share, "integers") if share > MOST_DIFFERING else None
    return _compare_reals(one.astype(np.float64), other.astype(np.float64), part, size)


def _too_many(share: float, what: str) -> str:
    return f"has differing {what}: expected {100 * MOST_DIFFERING:g} % at most, got {100 * share:.3g} %"


def _share_of_rows(differs: NDArray[np.bool_], *, draws: int) -> tuple[Differences, str | None]:
    """Count differing rows (B, C) of dependent columns, each with as many draws; one row may always differ."""
    rows: NDArray[np.bool_] = np.asarray(differs.reshape(len(differs), -1).any(axis=1))
    count = max(1, draws * len(rows))
    apart = float(rows.sum()) / count
    fault = _too_many(apart, "rows" if draws == 1 else "draws") if rows.sum() > max(1, MOST_DIFFERING * count) else None
    return {"differ": float(rows.mean())}, fault


def _share_of_codes(differs: NDArray[np.bool_]) -> tuple[Differences, str | None]:
    """Compare codes (B, P) up to the first difference of each row, since later draws depend on it.

    One code may always differ, which in a few rows exceeds the allowed share.
    """
    compared: NDArray[np.bool_] = np.equal(np.cumsum(differs, axis=1), differs)
    apart, count = int((differs & compared).sum()), max(1, int(compared.sum()))
    fault = _too_many(apart / count, "codes") if apart > max(1, MOST_DIFFERING * count) else None
    return {"differ": apart / count}, fault


def _compare_reals(
    one: NDArray[np.float64], other: NDArray[np.float64], part: Part, size: NDArray[np.float64]
) -> tuple[Differences, str | None]:
    apart = np.isnan(one) != np.isnan(other)
    if apart.size and apart.mean() > MOST_DIFFERING:
        return {"differ": float(apart.mean())}, _too_many(float(apart.mean()), "missing values")
    gap = np.where(np.isnan(one) | np.isnan(other) | (one == other), 0.0, np.abs(one - other))
    allowed = part.rtol * np.nan_to_num(np.abs(one)) + part.atol * size
    relative = gap / (np.nan_to_num(np.abs(one)) + size)
    differences = {"abs": float(gap.max(initial=0)), "rel": float(relative.max(initial=0))}
    if (gap <= allowed).all():
        return differences, None
    return differences, (
        f"exceeds the tolerance: expected {part.rtol:g} relative and {part.atol:g} of the output's size at most, got a "
        f"difference of {differences['abs']:.3g}, {differences['rel']:.3g} relative"
    )


def _tied(name: str, wanted: Answers, found: Answers, part: Part) -> NDArray[np.bool_]:
    """Return where an index (`reason`) has a value (`reason_z`) tied with its neighbour, so that they may swap."""
    if (ranked := f"{name}_z") not in wanted:
        return np.zeros(wanted[name].shape, dtype=bool)
    values = wanted[ranked].astype(np.float64)
    near = 10 * part.rtol * np.maximum(1.0, np.abs(values))
    with_next = np.ones_like(values, dtype=bool)  # the last one may tie with a value beyond the top k
    with_next[:, :-1] = np.abs(np.diff(values, axis=1)) <= near[:, :-1]
    with_previous = np.zeros_like(with_next)
    with_previous[:, 1:] = with_next[:, :-1]
    same_values = np.abs(values - found[ranked].astype(np.float64)) <= near
    return np.asarray((with_next | with_previous) & same_values)

"""Whether a bundle answers here as it did where it was made."""

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.errors import BundleCorrupt
from aepipe.inference.batch_runner import Graph
from aepipe.inference.session import Session

_RTOL = 1e-3
_MOST_DIFFERING = 0.01


def check_golden(bundle: Bundle, graph: Graph | None = None) -> None:
    """Runs the golden rows through the scorer, opened on the CPU unless it is given.

    Raises BundleCorrupt if score or latents differ by more than a thousandth of the greatest.
    """
    onnx, _ = bundle.part("scorer")
    graph = graph or Session(onnx, device="cpu")
    expected = bundle.golden.answers
    for batch in bundle.golden.rows.combine_chunks().to_batches():
        encoded = bundle.encoding.encode(batch)
        answers = {name: np.empty_like(values) for name, values in expected.items()}
        graph.run_into(encoded.arrays, answers)
        codes = [name for name, values in expected.items() if not np.issubdtype(values.dtype, np.floating)]
        same = np.ones(len(encoded.invalid), np.bool_)
        for name in codes:
            _compare_codes(bundle, name, answers[name], expected[name])
            same &= (answers[name] == expected[name]).reshape(len(same), -1).all(axis=1)
        for name in expected.keys() - set(codes):
            _compare(bundle, name, answers[name][same], expected[name][same])


def _compare(bundle: Bundle, name: str, found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    allowed = _RTOL * max(1e-6, float(np.abs(expected.astype(np.float64)).max(initial=0.0)))
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if not np.all(difference <= allowed):  # a NaN is a difference
        row = int(np.argmax(difference.reshape(len(expected), -1).max(axis=1)))
        raise BundleCorrupt(
            f"{bundle.path} does not answer as it did when it was exported: {name} of golden row {row} is "
            f"{found[row]}, expected {expected[row]}. Restore the bundle, or train again on this machine."
        )


def _compare_codes(bundle: Bundle, name: str, found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    """Codes on the border of two are chosen by rounding: a few may differ, and what hangs on them is not compared."""
    apart = int((found != expected).sum())
    if apart > max(1, _MOST_DIFFERING * expected.size):
        raise BundleCorrupt(
            f"{bundle.path} does not answer as it did when it was exported: {apart} of {expected.size} {name} differ. "
            "Restore the bundle, or train again on this machine."
        )

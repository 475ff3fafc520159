"""Whether a bundle answers here as it did where it was made."""

import numpy as np
from numpy.typing import NDArray

from aepipe.batch.runner import Graph
from aepipe.batch.session import Session
from aepipe.bundle import Bundle
from aepipe.errors import BundleCorrupt

_RTOL = 1e-3


def check_golden(bundle: Bundle, graph: Graph | None = None) -> None:
    """Runs the golden rows through the scorer, opened on the CPU unless it is given.

    Raises BundleCorrupt if score or latents differ by more than a thousandth of the greatest.
    """
    onnx, _ = bundle.part("scorer")
    graph = graph or Session(onnx, device="cpu")
    expected = {"score": bundle.golden.score, "z": bundle.golden.z}
    for batch in bundle.golden.rows.combine_chunks().to_batches():
        encoded = bundle.encoding.encode(batch)
        answers = {name: np.empty_like(values) for name, values in expected.items()}
        graph.run_into(encoded.arrays, answers)
        for name, values in expected.items():
            _compare(bundle, name, answers[name], values)


def _compare(bundle: Bundle, name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    allowed = _RTOL * max(1e-6, float(np.max(np.abs(expected), initial=0.0)))
    difference = np.abs(found - expected)
    if not np.all(difference <= allowed):  # a NaN is a difference
        row = int(np.argmax(difference.reshape(len(expected), -1).max(axis=1)))
        raise BundleCorrupt(
            f"{bundle.path} does not answer as it did when it was exported: {name} of golden row {row} is "
            f"{found[row]}, expected {expected[row]}. Restore the bundle, or train again on this machine."
        )

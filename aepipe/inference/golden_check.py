"""Check that a bundle reproduces the outputs of its golden rows on this machine."""

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle, one_line
from aepipe.errors import AepipeError, BundleCorrupt, SchemaMismatch
from aepipe.inference.batch_runner import Graph
from aepipe.inference.session import Session

_RTOL = 1e-3
_MOST_DIFFERING = 0.01


def check_golden(bundle: Bundle, graph: Graph | None = None) -> None:
    """Compare the outputs of the golden rows with those stored in the bundle.

    Args:
        bundle: the bundle.
        graph: its open scorer; None opens it on the CPU.

    Raises:
        BundleCorrupt: the score or a latent differs by more than a thousandth of its greatest value, or the rows
            cannot be encoded or scored.
    """
    try:
        _check(bundle, graph)
    except Exception as error:  # graph, encoding and rows may fail to fit each other in any way
        if isinstance(error, AepipeError) and not isinstance(error, SchemaMismatch):
            raise
        raise BundleCorrupt(
            f"{bundle.path} cannot score its golden rows: {one_line(str(error))}. Restore the bundle, or train again."
        ) from error


def check_every_part(bundle: Bundle) -> None:
    """Compare the golden rows and open every other part on the CPU. Raises BundleCorrupt."""
    check_golden(bundle)
    for name in sorted(bundle.manifest.parts):
        try:
            Session(bundle.part(name)[0], device="cpu")
        except Exception as error:  # as above
            said = one_line(str(error))
            raise BundleCorrupt(
                f"{bundle.path}/{name}.onnx cannot be opened: {said}. Restore the bundle, or train again."
            ) from error


def _check(bundle: Bundle, graph: Graph | None) -> None:
    onnx, _ = bundle.part("scorer")
    graph = graph or Session(onnx, device="cpu")
    expected = bundle.golden.answers
    for batch in bundle.golden.rows.combine_chunks().to_batches():
        encoded = bundle.encoding.encode(batch)
        outputs = {name: np.empty_like(values) for name, values in expected.items()}
        graph.run_into(encoded.arrays, outputs)
        codes = [name for name, values in expected.items() if not np.issubdtype(values.dtype, np.floating)]
        same = np.ones(len(encoded.invalid), np.bool_)
        for name in codes:
            _compare_codes(bundle, name, outputs[name], expected[name])
            same &= (outputs[name] == expected[name]).reshape(len(same), -1).all(axis=1)
        for name in expected.keys() - set(codes):
            _compare_floats(bundle, name, outputs[name][same], expected[name][same])


def _compare_floats(bundle: Bundle, name: str, found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    allowed = _RTOL * max(1e-6, float(np.abs(expected.astype(np.float64)).max(initial=0.0)))
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if not np.all(difference <= allowed):  # NaN counts as a difference
        row = int(np.argmax(difference.reshape(len(expected), -1).max(axis=1)))
        raise BundleCorrupt(
            f"{bundle.path} does not reproduce its exported outputs: expected {name} {expected[row]} for golden row "
            f"{row}, got {found[row]}. Restore the bundle, or train again on this machine."
        )


def _compare_codes(bundle: Bundle, name: str, found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    """Allow a few codes to differ: rounding decides near ties. Outputs of such rows are not compared."""
    different = int((found != expected).sum())
    if different > max(1, _MOST_DIFFERING * expected.size):
        raise BundleCorrupt(
            f"{bundle.path} does not reproduce its exported outputs: {different} of {expected.size} {name} differ. "
            "Restore the bundle, or train again on this machine."
        )

"""Windows of a series job to latents and back, by the encoder and the decoder of its bundle."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.errors import OptionInvalid
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.session import Session
from aepipe.series.cutting import steps_read, window_tensors
from aepipe.series.windows import windows_at

FAMILIES = (
    "adversarial_ae",
    "ae",
    "beta_tcvae",
    "beta_vae",
    "contractive_ae",
    "ensemble_ae",
    "factor_vae",
    "hierarchical_vae",
    "info_vae",
    "iwae",
    "masked_ae",
    "memory_ae",
    "pca",
    "rae",
    "sparse_ae",
    "vae",
    "wae",
)
"""Families with a vector of real latents per window, from which series can be drawn."""

_AT_ONCE = 4_096


def refuse_family(bundle: Bundle) -> None:
    """Raise OptionInvalid if the latents of the family are no vector of real numbers per window."""
    if bundle.manifest.latent.kind != "real" or not bundle.manifest.latent.is_written:
        raise OptionInvalid(
            f"{bundle.version}, a {bundle.manifest.family}, cannot draw series: expected a family with a vector of "
            f"real latents per window, such as {', '.join(FAMILIES[:-1])} or {FAMILIES[-1]}. Train one of them."
        )


class WindowCodec:
    """Encoder and decoder of the windows, or single steps, that a network reads."""

    def __init__(self, bundle: Bundle, *, window: int, device: Device = "auto") -> None:
        """Open both parts; window: steps of a window of the series."""
        self._encoding = bundle.encoding
        self.steps = steps_read(bundle.encoding.schema, window)
        """Steps that the network reads at once."""
        self._runners = {
            part: Runner(partial(Session, bundle.part(part)[0], device=device)) for part in ("encoder", "decoder")
        }

    def encode(self, values: NDArray[np.floating], starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the latents of the windows from each start, (B, Z).

        Args:
            values: (S, F) scaled steps without missing values.
            starts: (B,) first step of each window.
        """
        found = []
        for begin in range(0, max(len(starts), 1), _AT_ONCE):
            windows = windows_at(values.astype(np.float32), starts[begin : begin + _AT_ONCE], self.steps)
            tensors = window_tensors(np.ascontiguousarray(windows), self._encoding)
            wanted = {port.name: tensors[port.name] for port in self._encoding.layout.encoded_ports}
            found.append(outputs_of(self._runners["encoder"], wanted)["z"].astype(np.float64))
        return np.concatenate(found)

    def decode(self, z: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the expected windows of latents (B, Z), (B, F, T) in scaled units."""
        found = []
        for begin in range(0, max(len(z), 1), _AT_ONCE):
            arrays = outputs_of(self._runners["decoder"], {"z": z[begin : begin + _AT_ONCE].astype(np.float32)})
            if self._encoding.series is None:
                flat = arrays["num"].astype(np.float64)
                found.append(flat.reshape(len(flat), -1, self.steps))
            else:
                offsets = np.array([float(codec.offset) for codec in self._encoding.series.channels])
                found.append((arrays["steps"].astype(np.float64) + offsets).transpose(0, 2, 1))
        return np.concatenate(found)

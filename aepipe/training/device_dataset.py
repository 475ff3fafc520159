"""Dataset held on the device, with batches by index."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepipe.models.base import Batch
from aepipe.models.layers.preprocessing import Preprocessing, Row

_ROWS_A_CALL = 65_536


class DeviceDataset:
    """Dataset on the device: tables are preprocessed once, images stay bytes to save memory."""

    def __init__(
        self, preprocessing: Preprocessing, arrays: Mapping[str, NDArray[np.generic]], device: torch.device
    ) -> None:
        self.preprocessing = preprocessing
        known = {
            port.name: np.require(arrays[port.name], requirements=["C", "W"]) for port in preprocessing.layout.ports
        }
        self.tensors = {name: torch.from_numpy(array).to(device) for name, array in known.items()}
        self.rows = len(next(iter(self.tensors.values())))
        layout = preprocessing.layout
        self.has_missing = layout.series is not None or any(number.may_be_missing for number in layout.numbers)
        self.table = None if preprocessing.layout.image is not None else self._preprocess_all()

    def pick(self, index: Tensor) -> Batch:
        """Return the batch of an index (B,), in the order of the index."""
        if self.table is not None:
            dense, observed, codes, given = self.table
            seen = observed.index_select(0, index) if self.has_missing else observed[: len(index)]
            known = given.index_select(0, index) if given.shape[1] else given[: len(index)]
            row = Row(dense.index_select(0, index), seen, codes.index_select(0, index), known)
            return Batch(row, row, index)
        with torch.no_grad():
            tensors = {name: tensor.index_select(0, index) for name, tensor in self.tensors.items()}
            row = self.preprocessing(tensors)
            return Batch(row, self.preprocessing.wanted(tensors, row), index)

    @property
    def everything(self) -> Tensor:
        """Index of all rows, in order."""
        return torch.arange(self.rows, device=next(iter(self.tensors.values())).device)

    def slices(self, rows: int, index: Tensor | None = None) -> Iterator[Batch]:
        """Yield batches of at most `rows` rows in order.

        Args:
            rows: Greatest batch size.
            index: Rows to take; None: all.
        """
        index = self.everything if index is None else index
        for begin in range(0, len(index), rows):
            yield self.pick(index[begin : begin + rows])

    @torch.no_grad()
    def _preprocess_all(self) -> Row:
        starts = range(0, max(1, self.rows), _ROWS_A_CALL)
        rows = [self.preprocessing({k: v[i : i + _ROWS_A_CALL] for k, v in self.tensors.items()}) for i in starts]
        return Row(*(torch.cat(part) for part in zip(*rows, strict=True)))

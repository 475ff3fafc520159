"""What a trained model says of rows: the module that heads sit on, and its answers over many rows."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.family import Model
from aepipe.head import Evidence
from aepipe.nets.pooling import reason_pooling, residual_pooling
from aepipe.parts import named

_ROWS_A_CALL = 4_096


class Witness(nn.Module):
    """Row tensors, in the order of `Layout.ports`, to `Evidence`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.of_reasons = reason_pooling(model.layout)
        self.of_residuals = residual_pooling(model.layout)

    def forward(self, *rows: Tensor) -> Evidence:
        model = self.model
        row = model.frontend(named(model.layout, rows))
        posterior = model.posterior(row)
        params = model.decode(posterior.mean)
        nll = model.likelihood.nll(params, row)
        residual = model.likelihood.residual(params, row)
        return Evidence(
            losses=self.of_reasons(nll),
            residual=self.of_residuals(residual),
            z=posterior.mean,
            kl=model.kl(posterior),
            total=nll.sum(1),
        )


@torch.no_grad()
def gather(witness: Witness, arrays: Mapping[str, NDArray[np.generic]], *, most: int, seed: int) -> Evidence:
    """Evidence of rows, on the CPU; of more than `most` rows, of a seeded choice of them."""
    names = [port.name for port in witness.model.layout.ports]
    rows = len(arrays[names[0]])
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    device = next(iter(witness.model.state_dict().values())).device
    calls = []
    for begin in range(0, len(chosen), _ROWS_A_CALL):
        part = chosen[begin : begin + _ROWS_A_CALL]
        tensors = (torch.from_numpy(arrays[name][part]).to(device) for name in names)
        calls.append(Evidence(*(answer.cpu() for answer in witness(*tensors))))
    return Evidence(*(torch.cat(answers) for answers in zip(*calls, strict=True)))

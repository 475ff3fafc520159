"""Cluster assignment by the mixture model of the latents."""

import torch
from torch import Tensor, nn

from aepipe.heads.whitening import whitened_squares
from aepipe.latent_math import Mixture
from aepipe.layout import Port

CLUSTER_PORTS = (Port("cluster", "int32", (1,)), Port("cluster_distance", "float32", (1,)))


class Clusters(nn.Module):
    """Torch counterpart of `Mixture.assign`: latents (B, Z) to (component, distance), (B, 1) each."""

    log_heights: Tensor
    means: Tensor
    whitening: Tensor

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.register_buffer("log_heights", torch.tensor(mixture.log_heights, dtype=torch.float32))
        self.register_buffer("means", torch.tensor(mixture.means[:, None], dtype=torch.float32))
        self.register_buffer("whitening", torch.tensor(mixture.whitening, dtype=torch.float32))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        squares = whitened_squares(z, self.means, self.whitening)
        cluster = (self.log_heights - 0.5 * squares).argmax(1, keepdim=True)
        return cluster.to(torch.int32), squares.gather(1, cluster).sqrt()

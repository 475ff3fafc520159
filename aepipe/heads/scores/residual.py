"""Root mean square residual of the reconstruction."""

from torch import Tensor

from aepipe.heads.base import Head, HeadSpec, ScoringInputs


class Residual(Head):
    """Root mean square difference from the reconstruction, in standard deviations of the columns, (B,)."""

    def forward(self, inputs: ScoringInputs) -> Tensor:
        # clamp: the gradient and the float32 square root of an exact reconstruction stay finite
        return inputs.residual.square().mean(1).clamp(min=1e-12).sqrt()


HEAD = HeadSpec("residual", "root mean square residual of the reconstruction", lambda _: Residual())

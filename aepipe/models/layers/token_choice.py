"""Draws of tokens from a sharper or truncated distribution: temperature, top-k, nucleus."""

from typing import NamedTuple

import torch
from torch import Tensor

from aepipe.layout import Port
from aepipe.models.layers.two_level_softmax import inverse_cdf

TOKEN_CHOICE = (
    Port("temperature", "float32", (1,)),
    Port("top_k", "int32", (1,)),
    Port("top_p", "float32", (1,)),
)
"""Inputs of the graph that draws tokens so; a row has its own values."""


class Truncation(NamedTuple):
    """Temperature, number of tokens and probability mass of the nucleus, (B, 1) each."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor


def draw_truncated(logits: Tensor, uniform: Tensor, truncation: Truncation) -> Tensor:
    """Draw an index (B,) from logits (B, K) by uniform (B,).

    The logits are divided by the temperature, the likeliest `top_k` kept, then the fewest of these whose probabilities,
    which sum to 1 again, reach `top_p`. Holtzman et al. 2020.
    """
    likeliest, order = (logits / truncation.temperature.to(logits.dtype)).softmax(1).sort(1, descending=True)
    rank = torch.arange(logits.shape[1], device=logits.device)
    likeliest = likeliest * (rank < truncation.top_k.long()).to(logits.dtype)
    likeliest = likeliest / likeliest.sum(1, keepdim=True)
    before = likeliest.cumsum(1) - likeliest
    kept = likeliest * ((before < truncation.top_p.to(logits.dtype)) | (rank == 0)).to(logits.dtype)
    return order.gather(1, inverse_cdf(kept, uniform).unsqueeze(1)).squeeze(1)

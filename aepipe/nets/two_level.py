"""A categorical distribution over very many codes, in two levels: a class of codes, then a member of it."""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, UNSEEN
from aepipe.losses import categorical_nll

IMPOSSIBLE = -1e9
"""Added to the logit of what must not be."""


class TwoLevel(nn.Module):
    """p(code) = p(code // members) p(code % members | code // members), of about 2 sqrt(size) logits; it sums to 1.

    Classes for fast models, Goodman 2001. Codes come by falling frequency, so members of a class are about equally
    frequent. Which member it is hangs on logits that all classes share and on a bias of its own: exact as likelihood
    goes, but a row says less of the member than a softmax over all codes would.
    """

    never: Tensor

    def __init__(self, size: int, absent: Collection[int] = ()) -> None:
        super().__init__()
        self.size = size
        self.members = math.isqrt(size - 1) + 1
        self.classes = -(-size // self.members)
        self.width = self.classes + self.members
        self.bias = nn.Parameter(torch.zeros(self.classes, self.members))
        self.register_buffer("never", torch.tensor(sorted({UNSEEN, *absent})), persistent=False)

    def nll(self, logits: Tensor, codes: Tensor) -> Tensor:
        """-log p of codes (B,), (B,) in nats; logits (B, width)."""
        chosen = codes // self.members
        members = self._of_members(logits, chosen).unsqueeze(1)
        of_class = categorical_nll(self._of_classes(logits).unsqueeze(1), chosen.unsqueeze(1))
        return (of_class + categorical_nll(members, (codes % self.members).unsqueeze(1))).squeeze(1)

    def guess(self, logits: Tensor) -> Tensor:
        """The likeliest value of the likeliest class, (B,)."""
        chosen = self._of_classes(logits).argmax(1)
        codes = self._codes(chosen)
        return chosen * self.members + self._of_members(logits, chosen, barred=codes < FIRST_VALUE).argmax(1)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Codes (B,) drawn by uniform (B, 2); never one that is unseen or absent."""
        chosen = inverse_cdf(self._of_classes(logits).exp(), uniform[:, 0])
        barred = (self._codes(chosen).unsqueeze(2) == self.never).any(2)
        members = self._of_members(logits, chosen, barred=barred)
        return chosen * self.members + inverse_cdf(members.exp(), uniform[:, 1])

    def one_hot(self, codes: Tensor) -> Tensor:
        """Indicators (B, width) of class and member."""
        levels = (codes // self.members, self.classes), (codes % self.members, self.members)
        return torch.cat([F.one_hot(each, size) for each, size in levels], 1).to(self.bias.dtype)

    def _of_classes(self, logits: Tensor) -> Tensor:
        return logits[:, : self.classes].log_softmax(1)

    def _of_members(self, logits: Tensor, chosen: Tensor, *, barred: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, members) in the chosen classes (B,)."""
        beyond = self._codes(chosen) >= self.size
        barred = beyond if barred is None else beyond | barred
        known = logits[:, self.classes :] + self.bias[chosen] + IMPOSSIBLE * barred.to(logits.dtype)
        return known.log_softmax(1)

    def _codes(self, chosen: Tensor) -> Tensor:
        """The codes (B, members) of classes (B,)."""
        return chosen.unsqueeze(1) * self.members + torch.arange(self.members, device=chosen.device)


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Indices (...,) drawn from probabilities (..., K) by uniform (...,), of none that is impossible: ends included."""
    cumulated = probabilities.cumsum(-1)
    total = cumulated[..., -1:]
    passed = (uniform.unsqueeze(-1) * total >= cumulated) & (cumulated < total)
    return passed.to(torch.int64).sum(-1)

"""A categorical distribution over very many codes, in two levels: a class of codes, then a member of it."""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, UNSEEN
from aepipe.models.losses import categorical_nll

_FEATURES = 8

IMPOSSIBLE = -1e9
"""Added to the logit of what must not be."""


class ClassFactoredSoftmax(nn.Module):
    """p(code) = p(code // members) p(code % members | code // members), which sums to 1; sqrt(size) members a class.

    Classes for fast models, Goodman 2001. Codes come by falling frequency, so members of a class are about equally
    frequent. The `width` parameters of a row are a logit a class and 8 features: a member's logit is the product of
    these with 8 numbers of its own, plus a bias. Exact as likelihood goes; what is given up is a rank above 8.
    """

    never: Tensor

    def __init__(self, size: int, absent: Collection[int] = ()) -> None:
        super().__init__()
        self.size = size
        self.members = math.isqrt(size - 1) + 1
        self.classes = -(-size // self.members)
        self.width = self.classes + _FEATURES
        own = torch.randn(self.classes, self.members, _FEATURES) * _FEATURES**-0.5
        self.table = nn.Parameter(torch.cat([own, torch.zeros(self.classes, self.members, 1)], 2).flatten(1))
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
        """Indicators (B, width) of the class; of a member a linear model is told nothing."""
        of_class = F.one_hot(codes // self.members, self.classes).to(self.table.dtype)
        return F.pad(of_class, (0, _FEATURES))

    def logits_of(self, shares: Tensor) -> Tensor:
        """Parameters (B, width) of what a linear model makes of such indicators: classes as shares, members alike."""
        return F.pad(log_of_shares(shares[:, : self.classes]), (0, _FEATURES))

    def _of_classes(self, logits: Tensor) -> Tensor:
        return logits[:, : self.classes].log_softmax(1)

    def _of_members(self, logits: Tensor, chosen: Tensor, *, barred: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, members) in the chosen classes (B,)."""
        beyond = self._codes(chosen) >= self.size
        barred = beyond if barred is None else beyond | barred
        own = F.embedding(chosen, self.table).reshape(-1, self.members, _FEATURES + 1)
        features = F.pad(logits[:, self.classes :], (0, 1), value=1.0)  # times the bias
        known: Tensor = (own @ features.unsqueeze(2)).squeeze(2) + IMPOSSIBLE * barred.to(logits.dtype)
        return known.log_softmax(1)

    def _codes(self, chosen: Tensor) -> Tensor:
        """The codes (B, members) of classes (B,)."""
        return chosen.unsqueeze(1) * self.members + torch.arange(self.members, device=chosen.device)


def log_of_shares(shares: Tensor) -> Tensor:
    """Logits of shares, those below a hundredth counting as one."""
    return shares.clamp(min=0.01).log()


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Indices (...,) drawn from probabilities (..., K) by uniform (...,), of none that is impossible: ends included."""
    cumulated = probabilities.cumsum(-1)
    total = cumulated[..., -1:]
    passed = (uniform.unsqueeze(-1) * total >= cumulated) & (cumulated < total)
    return passed.to(torch.int64).sum(-1)

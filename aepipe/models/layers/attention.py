"""Pre-norm transformer blocks over a sequence of tokens: Vaswani et al. 2017, with the norms of Xiong et al. 2020."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROWTH = 2


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network, each added to its input, (B, T, W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, _GROWTH * width), nn.GELU(), nn.Linear(_GROWTH * width, width)
        )

    def forward(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Transform tokens (B, T, W); those that are not valid (B, T) are not attended to."""
        count, width = tokens.shape[1], tokens.shape[2]
        by_head = self.queries_keys_values(self.before(tokens)).reshape(-1, count, 3, self.heads, width // self.heads)
        queries, keys, values = by_head.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if valid is None else valid[:, None, None, :]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        tokens = tokens + self.mixed(attended.transpose(1, 2).reshape(-1, count, width))
        output: Tensor = tokens + self.feed(tokens)
        return output


class Transformer(nn.Module):
    """Blocks and a last norm, (B, T, W)."""

    def __init__(self, width: int, *, blocks: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(blocks))
        self.after = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, valid)
        output: Tensor = self.after(tokens)
        return output


class Summary(nn.Module):
    """Summary of tokens (B, T, W) by a learned token that attends to them and by their mean, (B, 2W)."""

    def __init__(self, width: int, *, blocks: int, heads: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.transformer = Transformer(width, blocks=blocks, heads=heads)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        first = self.token + torch.zeros_like(tokens[:, :1])
        if valid is not None:
            valid = torch.cat([torch.ones_like(valid[:, :1]), valid], 1)
        answer = self.transformer(torch.cat([first, tokens], 1), valid)
        rest = answer[:, 1:]
        if valid is None:
            return torch.cat([answer[:, 0], rest.mean(1)], 1)
        weights = valid[:, 1:].to(rest.dtype).unsqueeze(2)
        return torch.cat([answer[:, 0], (rest * weights).sum(1) / weights.sum(1).clamp(min=1)], 1)

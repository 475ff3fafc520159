"""Autoregressive decoder of one text: the distribution of each token given the earlier ones and a context.

Bowman et al. 2016, Generating sentences from a continuous space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import END, MISSING, UNSEEN, Category, Text
from aepipe.models.layers.gru import Gru, gated
from aepipe.models.layers.scan import State, unroll
from aepipe.models.layers.token_choice import Truncation, draw_truncated
from aepipe.models.layers.two_level_softmax import IMPOSSIBLE, inverse_cdf
from aepipe.models.losses import categorical_nll

EMBEDDED = 64
"""Width of the embedding of a token."""
PLACED = 16
"""Numbers of a token that are read or written at its own position."""
STATE = 128
"""Default width of the recurrent state."""


class TokenDecoder(nn.Module):
    """Gated recurrent units over the tokens.

    Of the context (B, width), S numbers start the state and are an input of every step, and each position has numbers
    of its own: without these the state alone has to find the place in a long text. Tokens that are read and written
    share one embedding (Press & Wolf 2017): rare ones are learned from both.
    """

    drawable: Tensor

    def __init__(self, text: Text, first: Category, state: int) -> None:
        """Build the network.

        Args:
            text: the text.
            first: category of its first position.
            state: width S of the state.
        """
        super().__init__()
        self.text = text
        self.state = state
        self.width = state + PLACED * text.length
        self.table = nn.Parameter(torch.randn(text.size, EMBEDDED) * EMBEDDED**-0.5)
        self.start = nn.Linear(state, state)
        self.gru = Gru(EMBEDDED + PLACED + state, state)
        self.head = nn.Linear(state, EMBEDDED)
        self.bias = nn.Parameter(torch.zeros(text.size))
        drawable = torch.zeros(text.length, text.size)
        drawable[:, [UNSEEN, *first.absent]] = IMPOSSIBLE
        drawable[1:, MISSING] = IMPOSSIBLE
        self.register_buffer("drawable", drawable, persistent=False)

    def nll(self, context: Tensor, tokens: Tensor, given: Tensor) -> Tensor:
        """Return -log p of each token, (B, T) in nats, unmasked.

        Args:
            context: (B, width).
            tokens: codes (B, T) to predict.
            given: codes (B, T) that stand for the earlier tokens; the tokens themselves but for word dropout.
        """
        begin = torch.full_like(tokens[:, :1], END)
        before = F.embedding(torch.cat([begin, given[:, :-1]], 1).T, self.table)
        of_text, of_places = self._split(context)
        repeated = of_text.unsqueeze(0).expand(len(before), -1, -1)
        inputs = torch.cat([before, of_places.to(before.dtype), repeated.to(before.dtype)], 2)
        states = self.gru(inputs, torch.tanh(self.start(of_text)))
        logits = F.linear(self.head(states), self.table, self.bias).to(context.dtype)
        return categorical_nll(logits.log_softmax(2), tokens.T).T

    def draw(self, context: Tensor, uniform: Tensor | None, truncation: Truncation | None = None) -> Tensor:
        """Return codes (B, T) int64, token by token: drawn by uniform (B, T), or the likeliest token without.

        All codes after END, and after a missing text, are END.

        Args:
            context: (B, width).
            uniform: noise; None: the likeliest tokens.
            truncation: temperature and truncation of the distribution; None: as it is.
        """
        of_inputs, of_state, bias_of_inputs, bias_of_state = self.gru.cells.all_weights[0]
        table, weight, bias = self.table, self.head.weight, self.head.bias
        of_codes = self.bias
        of_text, of_places = self._split(context)
        # carried, not captured: a captured tensor would fix the number of rows of the exported graph
        of_context = F.linear(of_text, of_inputs[:, EMBEDDED + PLACED :], bias_of_inputs)
        of_step = of_inputs[:, : EMBEDDED + PLACED]

        def step(carried: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            state, before, running, of_context, *limits = carried
            gates = F.linear(torch.cat([before, inputs[1]], 1), of_step) + of_context
            after = gated(gates, F.linear(state, of_state, bias_of_state), state)
            logits = F.linear(F.linear(after, weight, bias), table, of_codes) + inputs[0]
            if uniform is None:
                chosen = logits.argmax(1)
            elif truncation is None:
                chosen = inverse_cdf(logits.softmax(1), inputs[2])
            else:
                chosen = draw_truncated(logits, inputs[2], Truncation(*limits))
            code = torch.where(running[:, 0] > 0, chosen, torch.full_like(chosen, END))
            goes_on = ((code != END) & (code != MISSING)).to(running.dtype).unsqueeze(1) * running
            unchanged = (each.clone() for each in (of_context, *limits))
            return (after, F.embedding(code, table), goes_on, *unchanged), (code,)

        begin = F.embedding(torch.full_like(context[:, 0], END, dtype=torch.int64), table)
        running = torch.ones_like(context[:, :1])
        initial = (torch.tanh(self.start(of_text)), begin, running, of_context, *(truncation or ()))
        steps: tuple[Tensor, ...] = (self.drawable, of_places.contiguous())
        if uniform is not None:
            steps = (*steps, uniform.T.contiguous())
        _, (codes,) = unroll(step, initial, steps)
        return codes.T

    def _split(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Split a context (B, width) into numbers of the text (B, S) and of its positions (T, B, PLACED)."""
        of_places = context[:, self.state :].reshape(-1, self.text.length, PLACED)
        return context[:, : self.state], of_places.transpose(0, 1)

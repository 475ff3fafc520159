"""Autoregressive distribution of columns: the code of each column given a start state and the codes before it.

Larochelle & Murray 2011 (NADE): the state is a sum of embeddings, so that each column costs one more addition. The code
of a large column is a group and a place in it (Goodman 2001), which costs the square root of its number of codes. A
hidden layer per column (Uria et al. 2016, deep NADE) sees how earlier columns act together.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, RARE, UNSEEN
from aepipe.models.layers.parameter_uses import ParameterUses
from aepipe.models.layers.thinned_relu import thinned_relu
from aepipe.models.layers.two_level_softmax import IMPOSSIBLE

SHORT_OF_ONE = 1 - 2.0**-20
"""Scale of the uniforms: rounding never draws a code beyond the last possible one."""

_MOST_OF_ONE_LEVEL = 24
_LEAST_COUNT = 0.5  # of a code that no training row has
_BLURRED_ROWS = 10
"""Standard deviation of the blur of a bin, in training rows; chosen on two tables of 300 rows."""
_LEAST_BLUR = 0.1  # bins; rounded, less moves none
_CORRECTION_STEPS = 5
_MOST_CORRECTION = 0.7  # a factor of two
_MOST_OF_PRIVATE, _STEPS_OF_PRIVATE = 3.0, 20  # noise in training takes shares further away
_MOST_OF_RARE = 4.6  # a factor of 100: the network saw such codes too seldom to know how often they occur
_RARE_SHARE = 0.01  # of all rows
_HALF_WAVES = 6  # most of an initial embedding over the codes of a column
_SPREAD = 0.1  # standard deviation of the initial embeddings


class Levels(NamedTuple):
    """Numbers of groups and of places per group of a column; one place if each code is its own group."""

    groups: int
    places: int


def levels_of(size: int) -> Levels:
    """Return the levels of a column with this number of codes.

    >>> levels_of(24), levels_of(25), levels_of(10_003)
    (Levels(groups=24, places=1), Levels(groups=5, places=5), Levels(groups=100, places=101))
    """
    if size <= _MOST_OF_ONE_LEVEL:
        return Levels(size, 1)
    places = math.ceil(math.sqrt(size))
    return Levels(-(-size // places), places)


class Hidden(NamedTuple):
    """Hidden layer of one column, a residual of the state. H units of the state, K of the layer."""

    shift: Tensor
    """(H,), added to the state"""
    weight: Tensor
    """(H, K)"""
    bias: Tensor
    """(K,)"""
    answer: Tensor
    """(K, H)"""


class Column(NamedTuple):
    """Parameters of one column. G groups, P places, H units, V codes."""

    group: Tensor
    """(H, G), weights of the group logits"""
    group_bias: Tensor
    """(G,)"""
    embedding: Tensor
    """(V, H), added to the state for a known code"""
    tilt: Tensor
    """(G,), added to the group logits in draws only: 0 or a correction of the group's share, very negative for a group
    that no training row has"""
    drawable: Tensor
    """(G, P), as `tilt` for the codes of a group"""
    of_group: Tensor | None
    """(G, H), added to the state for a known group, before its place is drawn; None with one level"""
    place: Tensor | None
    """(H, P)"""
    place_bias: Tensor | None
    """(G, P), very negative for impossible places"""
    hidden: Hidden | None

    def refined(self, state: Tensor) -> Tensor:
        """Return the state (B, H) that the logits of this column are computed from."""
        if self.hidden is None:
            return state
        shift, weight, bias, answer = self.hidden
        inner = torch.relu(torch.addmm(bias, torch.relu(state + shift), weight))
        return state + torch.addmm(shift, inner, answer)

    @property
    def size(self) -> int:
        return len(self.embedding)

    @property
    def places(self) -> int:
        return self.drawable.shape[1]

    @property
    def least_guess(self) -> int:
        """First code of a guess: never missing or unseen, and rare only if there is no other."""
        return FIRST_VALUE if self.size > FIRST_VALUE else RARE


class AutoregressiveColumns(nn.Module):
    """Map start states (B, H) to codes (B, C) of columns of these sizes.

    Args:
        sizes: numbers of codes.
        width: H.
        order: permutation of the columns, in which they are predicted.
        hidden: units of the hidden layer of each column; 0: none.
        dropout: share of units that a training step leaves out, against memorising rows.
        bins: number of codes of each column, the last ones, that are bins in ascending order; none: no column has any.
            Training steps replace the bins that later columns depend on by near ones, so that bins of few rows share
            what they learn.
    """

    before: Tensor
    position: Tensor
    offsets: Tensor
    places: Tensor
    parted: Tensor
    possible: Tensor
    drawable: Tensor
    tilt: Tensor
    first_bin: Tensor
    last_code: Tensor
    blur: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        width: int,
        order: Sequence[int],
        *,
        hidden: int = 0,
        dropout: float = 0.0,
        bins: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.sizes, self.order = tuple(sizes), tuple(order)
        self.levels = [levels_of(size) for size in sizes]
        self.parts = [1 + (levels.places > 1) for levels in self.levels]
        self.uniforms = sum(self.parts)
        parted = [column for column, levels in enumerate(self.levels) if levels.places > 1]
        most = Levels(*(max(counts) for counts in zip(*self.levels, strict=True)))
        grids = torch.full((len(sizes), *most), -1)  # codes by group and place, padded
        for grid, size, levels in zip(grids, sizes, self.levels, strict=True):
            own = torch.arange(levels.groups * levels.places).reshape(levels)
            grid[: levels.groups, : levels.places] = torch.where(own < size, own, -1)
        self._init_parameters(len(parted), width, most)
        self._init_hidden(width, hidden)
        columns = torch.tensor(sizes)
        position = torch.tensor(self.order).argsort()
        self.is_in_order = self.order == tuple(range(len(self.sizes)))
        self.register_buffer("before", torch.ones(len(sizes), len(sizes)).tril(), persistent=False)
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("offsets", columns.cumsum(0) - columns, persistent=False)
        self.register_buffer("places", torch.tensor([levels.places for levels in self.levels]), persistent=False)
        self.register_buffer("parted", torch.tensor(parted, dtype=torch.int64), persistent=False)
        self.register_buffer("possible", torch.where(grids >= 0, 0.0, IMPOSSIBLE), persistent=False)
        self.register_buffer("drawable", torch.where((grids >= 0) & (grids != UNSEEN), 0.0, IMPOSSIBLE))
        self.register_buffer("tilt", torch.zeros(len(sizes), most.groups))
        self.register_buffer("first_bin", columns - torch.tensor(bins or [0] * len(sizes)), persistent=False)
        self.register_buffer("last_code", columns - 1, persistent=False)
        self.register_buffer("blur", torch.zeros(len(sizes)))

    def _init_parameters(self, parted: int, width: int, most: Levels) -> None:
        columns, bound = len(self.sizes), width**-0.5
        self.group = nn.Parameter(torch.empty(columns, width, most.groups).uniform_(-bound, bound))
        self.group_bias = nn.Parameter(torch.zeros(columns, most.groups))
        tables = [
            _SPREAD * (_waves if parts > 1 else torch.randn)(size, width)
            for size, parts in zip(self.sizes, self.parts, strict=True)
        ]
        self.embedding = nn.Parameter(torch.cat(tables))
        self.of_group = nn.Parameter(_SPREAD * torch.randn(parted, most.groups, width)) if parted else None
        self.place = nn.Parameter(torch.empty(parted, width, most.places).uniform_(-bound, bound)) if parted else None
        self.place_bias = nn.Parameter(torch.zeros(parted, most.groups, most.places)) if parted else None

    def _init_hidden(self, width: int, hidden: int) -> None:
        columns, bound = len(self.sizes), width**-0.5
        self.shift = nn.Parameter(torch.zeros(columns, 1, width)) if hidden else None
        self.inner = nn.Parameter(torch.empty(columns, width, hidden).uniform_(-bound, bound)) if hidden else None
        self.inner_bias = nn.Parameter(torch.zeros(columns, 1, hidden)) if hidden else None
        self.outer = nn.Parameter(torch.zeros(columns, hidden, width)) if hidden else None

    def counts_of(self, codes: Tensor) -> list[Tensor]:
        """Return the number of rows that have each code of each column, (size,), among rows of codes (B, C)."""
        return [torch.bincount(codes[:, column], minlength=size) for column, size in enumerate(self.sizes)]

    def init_from_counts(self, codes: Tensor) -> None:
        """Initialise from the code counts of training rows (B, C); codes without a row are never drawn."""
        self.init_from(self.counts_of(codes))

    @torch.no_grad()
    def init_from(self, found: Sequence[Tensor]) -> None:
        """Initialise from the counts of each column's codes, (size,); codes of count 0 are never drawn."""
        for column, (size, levels, counts) in enumerate(zip(self.sizes, self.levels, found, strict=True)):
            grid = F.pad(counts, (0, levels.groups * levels.places - size)).reshape(levels)
            self.drawable[column, : levels.groups, : levels.places][grid == 0] = IMPOSSIBLE
            first = int(self.first_bin[column])
            self.blur[column] = _BLURRED_ROWS * (size - first) / max(1, int(counts[first:].sum()))
            possible = self.possible[column, : levels.groups, : levels.places]
            logs = (grid + _LEAST_COUNT).log().to(possible) + possible
            self.group_bias[column, : levels.groups] = logs.logsumexp(1) - logs.logsumexp((0, 1))
            if levels.places > 1:
                assert self.place_bias is not None
                least = min(-1.0, float((logs - logs.logsumexp((0, 1)))[logs > IMPOSSIBLE / 2].min()))
                bias = (logs - logs.logsumexp(1, keepdim=True)).clamp(min=2 * least)
                self.place_bias[self._parted_at(column), : levels.groups, : levels.places] = bias

    def nll(
        self,
        start: Tensor,
        codes: Tensor,
        generator: torch.Generator | None = None,
        uses: ParameterUses | None = None,
    ) -> Tensor:
        """Return -log p of the code of each column given the codes before it, (B, C) in nats.

        Args:
            start: start states (B, H).
            codes: (B, C).
            generator: noise of the dropout and of the blur of bins; None: neither.
            uses: record of the uses of parameters; None: none is kept.
        """
        seen = codes if generator is None else self._blurred(codes, generator)
        states, codes = self._refined(self._states(start, seen, uses), generator, uses), codes.T
        groups = torch.div(codes, self.places.unsqueeze(1), rounding_mode="floor")
        bias = (self.group_bias + self.possible.amax(2)).unsqueeze(1)
        logits = self._product(bias, states, self.group, generator, uses, self.group_bias)
        losses = _cross_entropy(logits, groups)
        if self.of_group is None:
            return losses.T
        assert self.place is not None
        assert self.place_bias is not None
        group, places = groups[self.parted], self.places[self.parted].unsqueeze(1)
        at = group + torch.arange(len(group), device=group.device).unsqueeze(1) * self.of_group.shape[1]
        known = F.embedding(at, self.of_group.flatten(0, 1))
        if uses is not None:
            uses.add_terms(known, self.of_group)
        inner = states.index_select(0, self.parted) + known
        biases = (self.place_bias + self.possible[self.parted]).flatten(0, 1)
        logits = self._product(F.embedding(at, biases), inner, self.place, generator, uses, self.place_bias)
        within = _cross_entropy(logits, codes[self.parted] - group * places)
        return losses.index_add(0, self.parted, within).T

    def log_probabilities(self, start: Tensor, codes: Tensor) -> list[Tensor]:
        """Return log p of every code of each column, (B, size), given the codes (B, C) before it."""
        states = self._states(start, codes)
        return [log_probabilities(self.column(at), states[at]) for at in range(len(self.sizes))]

    def greedy_decode(self, start: Tensor) -> list[Tensor]:
        """Return `log_probabilities` given the likeliest value of each earlier column: never missing, unseen, rare."""
        log_p, state = [start] * len(self.sizes), start
        for at in self.order:
            column = self.column(at)
            log_p[at] = log_probabilities(column, state)
            guess = log_p[at][:, column.least_guess :].argmax(1) + column.least_guess
            state = state + F.embedding(guess, column.embedding)
        return log_p

    def draw(self, start: Tensor, uniform: Tensor, forced: Tensor | None = None) -> Tensor:
        """Draw codes (B, C) int32 by inverse distribution functions.

        Args:
            start: start states (B, H).
            uniform: (B, `uniforms`), one part per column.
            forced: (B, C), codes that are not drawn; -1 for codes that are.
        """
        drawn, state = [start] * len(self.sizes), start
        parts = torch.split(uniform * SHORT_OF_ONE, self.parts, dim=1)
        for at in self.order:
            column = self.column(at)
            code = _draw(column, column.refined(state), parts[at])
            if forced is not None:
                code = torch.where(forced[:, at] < 0, code, forced[:, at].clamp(max=column.size - 1).long())
            drawn[at] = code
            state = state + F.embedding(code, column.embedding)
        return torch.stack(drawn, 1).to(torch.int32)

    @torch.no_grad()
    def match_shares(
        self, start: Tensor, found: Sequence[Tensor], generator: torch.Generator, *, is_private: bool = False
    ) -> None:
        """Correct the logits of draws until each code is drawn in its share of the counts.

        The corrections of a column are fitted at drawn rows, after the columns before it were corrected. The mean of
        the probabilities is matched, which varies less than the counts of draws. Codes that `init_from_counts` did not
        see are never drawn, so that they do not count.

        Args:
            start: start states of draws (N, H).
            found: counts of each column's codes, (size,).
            generator: noise of the draws.
            is_private: the network was trained with noise, so that its shares may be further away.
        """
        most, steps = (_MOST_OF_PRIVATE, _STEPS_OF_PRIVATE) if is_private else (_MOST_CORRECTION, _CORRECTION_STEPS)
        state, rows = start, len(start)
        for at in self.order:
            size, (groups, places) = self.sizes[at], self.levels[at]
            grid = F.pad(found[at], (0, groups * places - size)).reshape(groups, places).to(start.dtype)
            grid = grid * (self.drawable[at, :groups, :places] > IMPOSSIBLE / 2)
            column = self.column(at)
            refined = column.refined(state)
            shares = grid / grid.sum()
            of_groups = shares.sum(1)
            self.tilt[at, :groups] += _correction(
                _group_logits(column, refined), of_groups, _limits(of_groups, most), steps=steps
            )
            column = self.column(at)
            group = _inverse_cdf(_group_logits(column, refined), _even_uniforms(rows, generator))
            code = group
            if places > 1:
                logits = _place_logits(column, refined, group)
                within = grid / grid.sum(1, keepdim=True).clamp(min=1)
                self.drawable[at, :groups, :places] += _correction(
                    logits, within, _limits(shares, most), group, steps=steps
                )
                logits = _place_logits(self.column(at), refined, group)
                code = group * places + _inverse_cdf(logits, _even_uniforms(rows, generator))
            state = state + F.embedding(code.clamp(max=size - 1), column.embedding)

    def column(self, at: int) -> Column:
        """Return the parameters of one column, without padding."""
        groups, places = self.levels[at]
        group, bias = self.group[at, :, :groups], self.group_bias[at, :groups]
        begin = sum(self.sizes[:at])
        embedding = self.embedding[begin : begin + self.sizes[at]]
        drawable = self.drawable[at, :groups, :places]
        tilt = self.tilt[at, :groups] + torch.where(drawable.amax(1) < IMPOSSIBLE / 2, IMPOSSIBLE, 0.0)
        hidden = self._hidden(at)
        if places == 1:
            return Column(group, bias, embedding, tilt, drawable, None, None, None, hidden)
        assert self.of_group is not None
        assert self.place is not None
        assert self.place_bias is not None
        own = self._parted_at(at)
        place_bias = self.place_bias[own, :groups, :places] + self.possible[at, :groups, :places]
        of_group, place = self.of_group[own, :groups], self.place[own, :, :places]
        return Column(group, bias, embedding, tilt, drawable, of_group, place, place_bias, hidden)

    def _hidden(self, at: int) -> Hidden | None:
        if self.shift is None or self.inner is None or self.inner_bias is None or self.outer is None:
            return None
        return Hidden(self.shift[at, 0], self.inner[at], self.inner_bias[at, 0], self.outer[at])

    def _product(
        self,
        addend: Tensor,
        units: Tensor,
        weights: nn.Parameter,
        generator: torch.Generator | None,
        uses: ParameterUses | None,
        bias: nn.Parameter | None = None,
    ) -> Tensor:
        """Return addend + relu(units) (C, B, H) @ weights (C, H, K) after dropout; `bias` is in the addend."""
        kept, scaled = self._thinned(units, weights, generator)
        outputs = torch.baddbmm(addend, kept, scaled)
        if uses is not None:
            is_scaled = generator is not None and self.dropout > 0
            uses.add_product(outputs, kept, weights, bias, factor=1 / (1 - self.dropout) if is_scaled else 1.0)
        return outputs

    def _thinned(self, units: Tensor, weights: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return relu(units) (C, B, H) after dropout, and the weights (C, H, K) to multiply them by."""
        if generator is None or not self.dropout:
            return torch.relu(units), weights
        return thinned_relu(units, self.dropout, generator), weights / (1 - self.dropout)

    def _blurred(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes (B, C) with each bin replaced by one nearby."""
        if not bool((self.blur > _LEAST_BLUR).any()):
            return codes
        moves = self.blur * torch.randn(codes.shape, generator=generator, device=codes.device)
        moved = torch.minimum(torch.maximum(codes + moves.round().long(), self.first_bin), self.last_code)
        return torch.where(codes >= self.first_bin, moved, codes)

    def _refined(self, states: Tensor, generator: torch.Generator | None, uses: ParameterUses | None) -> Tensor:
        """Return `Column.refined` of all columns at once, (C, B, H), with dropout."""
        if self.shift is None or self.inner is None or self.inner_bias is None or self.outer is None:
            return states
        moved = states + self.shift
        if uses is not None:
            uses.add_terms(moved, self.shift)
        inner = self._product(self.inner_bias, moved, self.inner, generator, uses, self.inner_bias)
        return self._product(moved, inner, self.outer, generator, uses)

    def _parted_at(self, column: int) -> int:
        return sum(parts > 1 for parts in self.parts[:column])

    def _states(self, start: Tensor, codes: Tensor, uses: ParameterUses | None = None) -> Tensor:
        """Return the state before each column, (C, B, H)."""
        order = torch.tensor(self.order[:-1], dtype=torch.int64, device=codes.device)
        known = F.embedding((codes + self.offsets).T[order], self.embedding)
        if uses is not None:
            uses.add_terms(known, self.embedding)
        columns = torch.cat([start.unsqueeze(0), known])
        # One product: a running sum took four times as long, and a sum of few rows is exact either way.
        states = (self.before @ columns.flatten(1)).reshape(columns.shape)
        return states if self.is_in_order else states.index_select(0, self.position)


def log_probabilities(column: Column, state: Tensor) -> Tensor:
    """Return log p of every code of a column at a state (B, H), (B, size)."""
    state = column.refined(state)
    of_group = torch.addmm(column.group_bias, torch.relu(state), column.group).log_softmax(1)
    if column.of_group is None or column.place is None or column.place_bias is None:
        return of_group
    within = torch.relu(state.unsqueeze(1) + column.of_group) @ column.place + column.place_bias
    return (of_group.unsqueeze(2) + within.log_softmax(2)).flatten(1)[:, : column.size]


def _draw(column: Column, state: Tensor, uniform: Tensor) -> Tensor:
    """Draw codes (B,) int64 that training rows have at a refined state (B, H), by uniform (B, levels)."""
    group = _inverse_cdf(_group_logits(column, state), uniform[:, :1])
    if column.of_group is None:
        return group
    place = _inverse_cdf(_place_logits(column, state, group), uniform[:, 1:])
    return (group * column.places + place).clamp(max=column.size - 1)


def _group_logits(column: Column, state: Tensor) -> Tensor:
    """Return the logits of the groups that draws are made from, (B, G)."""
    return torch.addmm(column.group_bias + column.tilt, torch.relu(state), column.group)


def _place_logits(column: Column, state: Tensor, group: Tensor) -> Tensor:
    """Return the logits of the places in a group (B,) that draws are made from, (B, P)."""
    assert column.of_group is not None
    assert column.place is not None
    assert column.place_bias is not None
    inner = torch.relu(state + F.embedding(group, column.of_group))
    return inner @ column.place + F.embedding(group, column.place_bias + column.drawable)


def _waves(size: int, width: int) -> Tensor:
    """Return embeddings (size, width) of codes in order, cosines of random frequency: neighbours start alike."""
    at = torch.linspace(-1, 1, size).unsqueeze(1)
    frequency, phase = _HALF_WAVES * math.pi * torch.rand(width), 2 * math.pi * torch.rand(width)
    return math.sqrt(2) * torch.cos(at * frequency + phase)


def _limits(shares: Tensor, most: float) -> Tensor:
    """Return the largest correction of codes or groups by their shares of all rows; that of rare ones is larger."""
    return torch.where(shares <= _RARE_SHARE, _MOST_OF_RARE, most)


def _correction(logits: Tensor, shares: Tensor, limits: Tensor, group: Tensor | None = None, *, steps: int) -> Tensor:
    """Return what to add to logits (B, n), by group (B,) if given, to draw codes in these shares (n,) or (G, n).

    A code whose probability is 0 or 1 by the earlier columns stays as it is drawn, so that corrections are limited.
    """
    found = torch.zeros_like(shares)
    total = None if group is None else shares.new_zeros(len(shares)).index_add(0, group, logits.new_ones(len(group)))
    for _ in range(steps):
        if group is None or total is None:
            drawn = (logits + found).softmax(1).mean(0)
        else:
            drawn = torch.zeros_like(shares).index_add(0, group, (logits + F.embedding(group, found)).softmax(1))
            drawn = drawn / total.clamp(min=1).unsqueeze(1)
        is_known = (shares > 0) & (drawn > 0)
        ratios = torch.where(is_known, (shares / drawn.clamp(min=1e-12)).clamp(min=1e-12).log(), 0.0)
        found = torch.minimum(torch.maximum(found + ratios, -limits), limits)
    return found


def _even_uniforms(rows: int, generator: torch.Generator) -> Tensor:
    """Return one uniform of each of `rows` equal parts of [0, 1) in random order, (rows, 1)."""
    device = generator.device
    order = torch.randperm(rows, generator=generator, device=device)
    return ((order + torch.rand(rows, generator=generator, device=device)) / rows).unsqueeze(1) * SHORT_OF_ONE


def _inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw codes (B,) from logits (B, n): count the cumulative probabilities up to the uniform (B, 1)."""
    ends = logits.softmax(1).cumsum(1)[:, :-1]
    return (uniform >= ends).to(torch.int64).sum(1)


def _cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Return -log p of codes (C, B) at logits (C, B, n), (C, B) in nats."""
    return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").reshape(codes.shape)

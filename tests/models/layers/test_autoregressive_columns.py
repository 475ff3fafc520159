"""Autoregressive columns: one distribution in training, sampling, forced codes and ONNX."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, MISSING, UNSEEN, Port
from aepipe.models.layers.autoregressive_columns import AutoregressiveColumns, levels_of
from aepipe.models.layers.autoregressive_columns_onnx import ColumnGraph

SIZES, ORDER = (5, 40, 7, 300), (2, 1, 3, 0)


def make(
    sizes: tuple[int, ...] = SIZES, order: tuple[int, ...] = ORDER, *, scale: float = 5.0
) -> AutoregressiveColumns:
    """Make columns with weights so large that they depend on each other, in float64."""
    torch.manual_seed(0)
    chain = AutoregressiveColumns(sizes, 8, order, hidden=6, dropout=0.5).double().eval()
    for parameter in (chain.shift, chain.outer):
        assert parameter is not None
        parameter.data.normal_(std=0.1)
    for parameter in chain.parameters():
        parameter.data.mul_(scale)
    return chain


def rows(sizes: tuple[int, ...] = SIZES, count: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(0, size, (count,), generator=generator) for size in sizes], 1)


def starts(count: int, seed: int = 2) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_training_loss_is_the_negative_log_probability_of_the_codes() -> None:
    chain, codes, start = make(), rows(), starts(400)

    losses = chain.nll(start, codes)
    log_probabilities = chain.log_probabilities(start, codes)

    for column, of_codes in enumerate(log_probabilities):
        assert of_codes.shape == (400, SIZES[column])
        torch.testing.assert_close(of_codes.exp().sum(1), torch.ones(400, dtype=torch.float64))
        torch.testing.assert_close(losses[:, column], -of_codes.gather(1, codes[:, [column]]).squeeze(1))


def test_a_column_depends_only_on_earlier_columns_of_the_order() -> None:
    chain, start = make(), starts(50)
    codes = rows(count=50)

    for place, column in enumerate(ORDER):
        changed = codes.clone()
        changed[:, column] = (changed[:, column] + 1) % SIZES[column]
        before, after = chain.log_probabilities(start, codes), chain.log_probabilities(start, changed)
        for other in range(len(SIZES)):
            is_later = ORDER.index(other) > place
            assert torch.allclose(before[other], after[other], atol=1e-12) != is_later


def test_draws_have_the_joint_distribution_of_the_likelihood() -> None:
    sizes, draws = (4, 5, 4), 200_000
    chain = make(sizes, (1, 2, 0))
    chain.init_from_counts(torch.tensor(list(itertools.product(*map(range, sizes)))))
    start = starts(1).expand(draws, -1)

    drawn = chain.draw(start, torch.rand(draws, chain.uniforms, generator=torch.Generator().manual_seed(3)).double())

    every = torch.tensor([row for row in itertools.product(*map(range, sizes)) if UNSEEN not in row])
    joint = (-chain.nll(start[: len(every)], every).sum(1)).exp().detach()
    counts = torch.zeros(sizes)
    counts.index_put_(tuple(drawn.long().T), torch.ones(draws), accumulate=True)
    found = counts[tuple(every.T)] / draws
    assert float(counts[:, UNSEEN].sum() + counts[UNSEEN].sum()) == 0
    assert joint.sum() < 1  # codes that are never drawn have some probability
    conditional = _without_unseen(chain, start[:1], every)
    assert (found - conditional).abs().max() < 4 * (0.25 / draws) ** 0.5


def _without_unseen(chain: AutoregressiveColumns, start: Tensor, every: Tensor) -> Tensor:
    """Return the probability of rows, renormalised per column without the code that is never drawn."""
    log_probabilities = chain.log_probabilities(start.expand(len(every), -1), every)
    logs = torch.zeros(len(every), dtype=torch.float64)
    for column, of_codes in enumerate(log_probabilities):
        possible = of_codes.clone()
        possible[:, UNSEEN] = -torch.inf
        logs += possible.log_softmax(1).gather(1, every[:, [column]]).squeeze(1)
    return logs.exp().detach()


def test_codes_absent_from_training_are_never_drawn() -> None:
    chain = AutoregressiveColumns(SIZES, 8, ORDER)
    seen = rows(count=30)
    chain.init_from_counts(seen)
    uniform = torch.rand(20_000, chain.uniforms, generator=torch.Generator().manual_seed(0))
    uniform[:200] = float(np.nextafter(np.float32(1), np.float32(0)))
    uniform[200:300] = 0

    drawn = chain.draw(torch.randn(20_000, 8), uniform)

    for column in range(len(SIZES)):
        assert set(drawn[:, column].tolist()) <= set(seen[:, column].tolist()) - {UNSEEN}


def test_initialised_columns_have_the_shares_of_the_training_rows() -> None:
    chain, codes = AutoregressiveColumns(SIZES, 8, ORDER), rows(count=5_000)
    codes[:, 3] = codes[:, 3] % 50 + FIRST_VALUE
    chain.init_from_counts(codes)
    for name in ("group", "of_group", "place", "embedding"):
        getattr(chain, name).data.zero_()

    log_probabilities = chain.log_probabilities(torch.zeros(1, 8), codes[:1])

    for column, of_codes in enumerate(log_probabilities):
        shares = torch.bincount(codes[:, column], minlength=SIZES[column]) / len(codes)
        torch.testing.assert_close(of_codes[0].exp(), shares, atol=0.003, rtol=0.05)


def test_forced_codes_are_kept_and_the_others_drawn_given_earlier_codes() -> None:
    chain, start = make(), starts(300)
    forced = torch.where(torch.rand(300, 4, generator=torch.Generator().manual_seed(5)) < 0.5, rows(count=300), -1)
    uniform = torch.rand(300, chain.uniforms, generator=torch.Generator().manual_seed(6)).double()

    drawn = chain.draw(start, uniform, forced)

    assert torch.equal(drawn[forced >= 0].long(), forced[forced >= 0])
    assert torch.equal(chain.draw(start, uniform, drawn), drawn)
    free = chain.draw(start, uniform)
    first = forced[:, ORDER[0]] < 0
    assert torch.equal(drawn[first, ORDER[0]], free[first, ORDER[0]])


def test_the_likeliest_row_is_the_greatest_of_each_column_given_those_before() -> None:
    chain, start = make(), starts(60)

    answers = chain.greedy_decode(start)

    guess = torch.stack([each[:, FIRST_VALUE:].argmax(1) + FIRST_VALUE for each in answers], 1)
    for found, expected in zip(answers, chain.log_probabilities(start, guess), strict=True):
        torch.testing.assert_close(found, expected)
    assert MISSING not in guess


@pytest.mark.parametrize("sizes", [SIZES, (4, 9)], ids=["two levels", "one level"])
def test_the_graph_computes_what_the_columns_compute(sizes: tuple[int, ...]) -> None:
    order = tuple(reversed(range(len(sizes))))
    chain = AutoregressiveColumns(sizes, 8, order, hidden=6).eval()
    chain.init_from_counts(rows(sizes))
    layers = (nn.Linear(3, 8), nn.Linear(8, 8))
    z, uniform = torch.randn(700, 3), torch.rand(700, chain.uniforms)
    forced = torch.where(torch.rand(700, len(sizes)) < 0.5, rows(sizes, 700), -1).int()
    start = layers[1](torch.relu(layers[0](z)))
    ports = Port("z", "float32", (3,)), Port("u", "float32", (chain.uniforms,)), Port("f", "int32", (len(sizes),))
    cat = Port("cat", "int32", (len(sizes),))
    drawing, forcing, guessing = (ColumnGraph(chain) for _ in range(3))

    drawn = drawing.model(drawing.drawn(drawing.start("z", layers), "u"), ports[:2], cat)
    kept = forcing.model(forcing.drawn(forcing.start("z", layers), "u", "f"), ports, cat)
    guessed = guessing.model(guessing.greedy_decode(guessing.start("z", layers)), ports[:1], cat)

    feeds = {"z": z.numpy(), "u": uniform.numpy(), "f": forced.numpy()}
    greedy_decode = torch.stack(
        [each[:, FIRST_VALUE:].argmax(1) + FIRST_VALUE for each in chain.greedy_decode(start)], 1
    )
    expected = (chain.draw(start, uniform), chain.draw(start, uniform, forced), greedy_decode.int())
    for model, wanted, inputs in zip((drawn, kept, guessed), expected, (ports[:2], ports, ports[:1]), strict=True):
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {port.name: feeds[port.name] for port in inputs})
        assert found.dtype == np.int32
        assert (found == wanted.numpy()).all(axis=1).mean() > 0.995


@torch.no_grad()
def test_the_graph_draws_only_codes_of_training_rows_and_each_by_the_same_uniforms_as_the_columns() -> None:
    sizes = (5, 40, 7, 300, 4)
    chain, seen = AutoregressiveColumns(sizes, 8, (2, 4, 1, 3, 0), hidden=6).eval(), rows(sizes)
    seen[:, 0] = torch.where(seen[:, 0] < FIRST_VALUE, FIRST_VALUE, seen[:, 0])  # one range of codes
    seen[:, 2] = 2 * (seen[:, 2] // 2)  # codes in even steps, and the last but one alone
    seen[::40, 2] = 5
    seen[:, 3] = torch.where(seen[:, 3] // 18 % 3 == 1, 200, seen[:, 3])  # whole groups without a code
    seen[:, 4] = FIRST_VALUE  # a constant
    seen[:, 1] = 7 + seen[:, 1] % 3  # one group
    chain.init_from_counts(seen)
    z, uniform = torch.randn(20_000, 8), torch.rand(20_000, chain.uniforms)
    uniform[:500] = 0
    uniform[500:1_000] = float(np.nextafter(np.float32(1), np.float32(0)))
    ports = Port("z", "float32", (8,)), Port("u", "float32", (chain.uniforms,))
    graph = ColumnGraph(chain)

    model = graph.model(graph.drawn("z", "u"), ports, Port("cat", "int32", (len(sizes),)))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"z": z.numpy(), "u": uniform.numpy()})

    assert (found == chain.draw(z, uniform).numpy()).all(axis=1).mean() > 0.995
    for column in range(len(sizes)):
        assert set(found[:, column].tolist()) <= set(seen[:, column].tolist()) - {UNSEEN}


@torch.no_grad()
def test_probabilities_in_the_graph_of_draws_are_no_denormal_numbers() -> None:
    chain = AutoregressiveColumns(SIZES, 8, ORDER, hidden=6).eval()
    chain.init_from_counts(rows(count=60))
    ports = Port("z", "float32", (8,)), Port("u", "float32", (chain.uniforms,))
    graph = ColumnGraph(chain)
    model = graph.model(graph.drawn("z", "u"), ports, Port("cat", "int32", (len(SIZES),)))
    names = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(names, {"z": torch.randn(500, 8).numpy(), "u": torch.rand(500, chain.uniforms).numpy()})

    assert len(found) == chain.uniforms
    for probabilities in found:
        assert probabilities.min() >= np.finfo(np.float32).tiny


@pytest.mark.slow
def test_the_hidden_layer_learns_what_two_columns_say_only_together() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(5)
    coins = torch.randint(0, 2, (2_000, 3), generator=generator)
    parity = coins.sum(1, keepdim=True) % 2
    codes, start = FIRST_VALUE + torch.cat([coins, parity], 1), torch.zeros(2_000, 8)

    losses = []
    for hidden in (0, 16):
        chain = AutoregressiveColumns((5, 5, 5, 5), 8, range(4), hidden=hidden)
        chain.init_from_counts(codes)
        optimizer = torch.optim.Adam(chain.parameters(), lr=0.01)
        for _ in range(150):
            loss = chain.nll(start, codes)[:, 3].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[1] < 0.05
    assert losses[1] < losses[0] / 2


@torch.no_grad()
def test_a_training_step_sees_bins_near_the_own_one_and_other_codes_as_they_are() -> None:
    chain = AutoregressiveColumns((40, 5), 8, (0, 1), bins=(30, 0))
    generator = torch.Generator().manual_seed(3)
    codes = torch.stack([torch.randint(FIRST_VALUE, size, (300,), generator=generator) for size in (40, 5)], 1)
    chain.init_from_counts(codes)
    in_bins = int((codes[:, 0] >= 10).sum())

    seen = chain._blurred(codes.repeat(100, 1), generator)

    moves = (seen - codes.repeat(100, 1))[:, 0].reshape(100, 300).T
    assert torch.equal(seen[:, 1], codes.repeat(100, 1)[:, 1])
    assert not moves[codes[:, 0] < 10].any()
    inner = moves[(codes[:, 0] > 15) & (codes[:, 0] < 35)].double()
    expected = (10 * 30 / in_bins) ** 2 + 1 / 12  # rounding adds the variance of a uniform
    assert float(inner.mean()) == pytest.approx(0, abs=0.02)
    assert float(inner.var()) == pytest.approx(expected, rel=0.05)
    assert int(seen[:, 0][codes[:, 0].repeat(100) >= 10].min()) == 10
    assert int(seen[:, 0].max()) == 39


@torch.no_grad()
def test_bins_of_many_rows_are_not_blurred() -> None:
    chain = AutoregressiveColumns((67, 5), 8, (0, 1), bins=(64, 0))
    codes = torch.randint(FIRST_VALUE, 5, (64_000, 2))
    codes[:, 0] = torch.arange(64_000) % 64 + FIRST_VALUE
    chain.init_from_counts(codes)

    assert chain._blurred(codes, torch.Generator()) is codes


@pytest.mark.slow
def test_bins_of_few_rows_learn_from_their_neighbours() -> None:
    losses = []
    for bins in ((), (30, 30)):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(5)
        first = torch.rand(4_200, generator=generator)
        second = (first + 0.1 * torch.randn(4_200, generator=generator)).clamp(0, 1)
        codes = FIRST_VALUE + torch.stack([(30 * each).long().clamp(max=29) for each in (first, second)], 1)
        learned, held_out = codes[:200], codes[200:]
        chain = AutoregressiveColumns((33, 33), 16, range(2), hidden=16, dropout=0.2, bins=bins)
        chain.init_from_counts(learned)
        optimizer, least = torch.optim.Adam(chain.parameters(), lr=0.003), []
        for _ in range(400):
            loss = chain.nll(torch.zeros(200, 16), learned, generator).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                least.append(float(chain.nll(torch.zeros(4_000, 16), held_out)[:, 1].mean()))
        losses.append(min(least))  # as early stopping chooses

    assert losses[1] < losses[0] - 0.05


@torch.no_grad()
def test_matched_shares_of_draws_are_those_of_training_rows_and_the_likelihood_stays() -> None:
    chain, start, generator = make(scale=1.5), starts(40_000), torch.Generator().manual_seed(3)
    codes = torch.stack([(FIRST_VALUE + (size - FIRST_VALUE) * torch.rand(9_000) ** 1.2).long() for size in SIZES], 1)
    chain.init_from_counts(codes)
    before = chain.nll(start[:9_000], codes)

    apart = [shares_apart(chain, start, codes)]
    chain.match_shares(start, chain.counts_of(codes), generator)
    apart.append(shares_apart(chain, start, codes))

    assert torch.equal(chain.nll(start[:9_000], codes), before)
    for worst, matched in zip(*apart, strict=True):
        assert matched < min(0.05, worst / 2)


@torch.no_grad()
@pytest.mark.parametrize("size", [6, 60])
def test_codes_of_one_row_are_drawn_in_their_share_though_the_network_hardly_expects_them(size: int) -> None:
    generator = torch.Generator().manual_seed(3)
    codes = torch.full((900, 2), FIRST_VALUE)
    codes[:, 1] = torch.randint(FIRST_VALUE, 5, (900,), generator=generator)
    codes[5, 0], codes[6, 0] = size - 2, size - 1
    chain, start = make((size, 5), (1, 0), scale=1.5), starts(90_000)
    chain.init_from_counts(codes)
    chain.group_bias[0, (size - 2) // levels_of(size).places :] -= (
        4  # as after training on rows that rarely have these codes
    )

    chain.match_shares(start, chain.counts_of(codes), generator)

    drawn = chain.draw(start, torch.rand(90_000, chain.uniforms, generator=generator, dtype=torch.float64))
    for code in (size - 2, size - 1):
        assert int((drawn[:, 0] == code).sum()) == pytest.approx(100, abs=35)


def shares_apart(chain: AutoregressiveColumns, start: Tensor, codes: Tensor) -> list[float]:
    """Return the total variation between draws and codes of each column."""
    uniform = torch.rand(len(start), chain.uniforms, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    drawn, found = chain.draw(start, uniform), []
    for column, size in enumerate(SIZES):
        shares = [torch.bincount(each[:, column], minlength=size) / len(each) for each in (drawn, codes)]
        found.append(float((shares[0] - shares[1]).abs().sum() / 2))
    return found

"""Texts token by token: losses against a loop, draws against the distribution, and no token after the end."""

import numpy as np
import torch

from aepipe.config.job import Model as Section
from aepipe.layout import END, MISSING, RARE, UNSEEN, Category, Layout, Text
from aepipe.models.families import build
from aepipe.models.layers.likelihood import LikelihoodOptions, make_likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.text_encoder import TextEncoder, TextRowDecoder
from aepipe.models.layers.text_likelihood import TextLikelihood
from aepipe.models.layers.token_decoder import PLACED, TokenDecoder
from aepipe.models.layers.tokens import in_layout_order, present, rest_codes, within
from tests.support.layouts import LAYOUTS, random_rows

TEXT = Text(name="line", column=0, first=0, length=4, size=7)
FIRST = Category(name="line[0]", column=0, size=7, absent=(UNSEEN, RARE))
LAYOUT = Layout(
    columns=("line",),
    categories=tuple(FIRST.model_copy(update={"name": f"line[{at}]"}) for at in range(4)),
    texts=(TEXT,),
)
STATE = 5
WIDTH = STATE + 4 * PLACED


def decoder_of(seed: int = 0) -> TokenDecoder:
    torch.manual_seed(seed)
    return TokenDecoder(TEXT, FIRST, STATE).double()


def test_the_loss_of_a_token_depends_on_the_earlier_ones_alone_and_its_probabilities_add_up() -> None:
    decoder, context = decoder_of(), torch.randn(1, WIDTH, dtype=torch.float64)
    every = torch.arange(7)
    rows = torch.stack([torch.full((7,), 4), torch.full((7,), 5), every, torch.full((7,), 6)], 1)

    losses = decoder.nll(context.expand(7, -1), rows, rows)

    torch.testing.assert_close(torch.exp(-losses[:, 2]).sum(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.allclose(losses[:, :2], losses[:1, :2])
    assert not torch.allclose(losses[1:, 3], losses[:1, 3])


def test_drawn_tokens_follow_the_distribution_that_losses_state() -> None:
    decoder, rows = decoder_of(), 20_000
    context = torch.randn(1, WIDTH, dtype=torch.float64).expand(rows, -1)
    uniform = torch.rand(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        drawn = decoder.draw(context, uniform)

    shares = np.bincount(drawn[:, 0].numpy(), minlength=7) / rows
    every = torch.arange(7).unsqueeze(1).expand(7, 4)
    stated = torch.exp(-decoder.nll(context[:7], every, every)[:, 0]).detach().numpy()
    stated[[UNSEEN, RARE]] = 0  # never drawn
    np.testing.assert_allclose(shares, stated / stated.sum(), atol=0.015)


def test_the_numbers_of_a_position_change_its_token_and_later_ones_alone() -> None:
    decoder, tokens = decoder_of(), torch.tensor([[4, 5, 6, 4]])
    context = torch.randn(1, WIDTH, dtype=torch.float64)
    moved = context.clone()
    moved[:, STATE + 2 * PLACED : STATE + 3 * PLACED] += 1.0

    before, after = (decoder.nll(each, tokens, tokens) for each in (context, moved))

    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.isclose(before[:, 2:], after[:, 2:]).any()


def test_an_encoder_reads_each_token_at_its_place_without_the_states() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(LAYOUT, STATE, 3)
    with torch.no_grad():
        encoder.readers[0].head.weight.zero_()  # type: ignore[union-attr,operator]
    tokens, nothing = torch.tensor([[4, 5, END, END], [5, 4, END, END], [4, 5, END, 6]]), torch.zeros(3, 0)

    first, swapped, beyond = encoder(Row(nothing, nothing, tokens, nothing))

    assert not torch.isclose(first, swapped).all()
    assert torch.equal(first, beyond)


def test_without_hidden_layers_each_token_adds_to_the_latents_by_itself_and_contexts_are_linear() -> None:
    torch.manual_seed(0)
    encoder, decoder = TextEncoder(LAYOUT, STATE, 3), TextRowDecoder(3, STATE, WIDTH)
    with torch.no_grad():
        encoder.head.weight.zero_()
        decoder.layers[2].weight.zero_()
        decoder.layers[2].bias.zero_()
    tokens, nothing = torch.tensor([[4, 5, 4, 4], [6, 5, 4, 4], [4, 6, 6, 5], [6, 6, 6, 5]]), torch.zeros(4, 0)

    z = encoder(Row(nothing, nothing, tokens, nothing))

    assert not torch.isclose(z[0], z[1]).any()
    torch.testing.assert_close(z[0] - z[1], z[2] - z[3])
    torch.testing.assert_close(decoder(z).sum(0), decoder(z.sum(0, keepdim=True))[0])


def test_read_and_written_tokens_share_one_embedding() -> None:
    decoder, context = decoder_of(), torch.randn(1, WIDTH, dtype=torch.float64)
    tokens = torch.tensor([[4, 5, 6, 4]])
    before = decoder.nll(context, tokens, tokens)

    with torch.no_grad():
        decoder.table[6] += 1.0  # read after the third position, and one of the options of each

    assert not torch.isclose(before, decoder.nll(context, tokens, tokens)).any()
    assert sum(TEXT.size in each.shape for each in decoder.parameters()) == 2  # the other one is a bias


def test_nothing_follows_the_end_or_a_missing_text() -> None:
    decoder = decoder_of()
    uniform = torch.rand(500, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        drawn = decoder.draw(torch.zeros(500, WIDTH, dtype=torch.float64), uniform).tolist()

    for codes in drawn:
        ends = [at for at, code in enumerate(codes) if code in (END, MISSING)]
        assert all(code == END for code in codes[ends[0] + 1 :]) if ends else True
        assert MISSING not in codes[1:]
    assert {codes[0] for codes in drawn} == {MISSING, END, 4, 5, 6}


def test_the_likeliest_text_is_that_of_greedy_losses() -> None:
    decoder, context = decoder_of(3), torch.randn(8, WIDTH, dtype=torch.float64)

    with torch.no_grad():
        guessed = decoder.draw(context, None)

    for row, codes in zip(context, guessed, strict=True):
        for at in range(4):
            if at and codes[at - 1] in (END, MISSING):
                break
            options = codes.repeat(7, 1)
            options[:, at] = torch.arange(7)
            losses = decoder.nll(row.expand(7, -1), options, options)[:, at]
            losses[[UNSEEN, RARE, *([MISSING] if at else [])]] = torch.inf
            assert int(losses.argmin()) == int(codes[at])


def test_positions_after_the_end_cost_nothing() -> None:
    tokens = torch.tensor([[4, END, END, END], [4, 5, 6, 4], [END, END, END, END], [MISSING, END, END, END]])

    assert within(tokens).sum(1).tolist() == [2, 4, 1, 2]
    likelihood = make_likelihood(LAYOUT, LikelihoodOptions())
    nothing = torch.zeros(4, 0)
    losses = likelihood.nll(torch.randn(4, likelihood.width), Row(nothing, nothing, tokens, nothing))
    assert ((losses > 0) == within(tokens)).all()


def test_word_dropout_hides_tokens_from_the_decoder_but_not_from_the_loss() -> None:
    likelihood = make_likelihood(LAYOUT, LikelihoodOptions(word_dropout=0.5))
    assert isinstance(likelihood, TextLikelihood)
    tokens, nothing = torch.tensor([[4, 5, END, END]] * 400), torch.zeros(400, 0)

    row = likelihood.heard(Row(nothing, nothing, tokens, nothing), torch.Generator().manual_seed(0))

    assert torch.equal(row.codes[:, :4], tokens)
    heard = row.codes[:, 4:]
    assert set(heard[:, :2].flatten().tolist()) == {UNSEEN, 4, 5}
    assert 0.4 < float((heard[:, :2] == UNSEEN).float().mean()) < 0.6
    assert (heard[:, 2:] == END).all()
    params = torch.randn(1, likelihood.width).expand(400, -1)
    losses = likelihood.nll(params, row)
    assert losses[:, 0].unique().numel() == 1  # the first token has no earlier one
    assert losses[:, 1].unique().numel() == 2


def test_texts_between_other_columns_keep_their_places() -> None:
    layout = LAYOUTS["text"].model_copy(
        update={"texts": (LAYOUTS["text"].texts[0].model_copy(update={"first": 1, "length": 4}),)}
    )
    codes = torch.arange(14).reshape(2, 7)

    rest = rest_codes(layout, codes)

    assert rest.tolist() == [[0, 5, 6], [7, 12, 13]]
    assert torch.equal(in_layout_order(layout, rest, [codes[:, 1:5]]), codes)
    assert present(layout, torch.full((1, 7), END)).tolist() == [[True, True, False, False, False, True, True]]


def test_a_vae_reads_and_writes_texts_and_other_columns() -> None:
    layout = LAYOUTS["text"]
    model = build(layout, Section.model_validate({"family": "vae"}), 0).eval()
    inputs = {name: torch.from_numpy(array) for name, array in random_rows(layout, 30).items()}
    row = model.preprocessing(inputs)

    changed = row.codes.clone()
    changed[:, 0] = torch.where(changed[:, 0] == 5, 6, 5)
    before, after = (model.posterior(each).mean for each in (row, row._replace(codes=changed)))

    assert not torch.isclose(before, after).all(1).any()
    num, cat = model.likelihood.expected(model.reconstruct(row).params)
    assert num.shape == (30, 1)
    assert cat.shape == (30, len(layout.categories))

"""Transformer backbone: blocks against torch's own layer, padding, one head per column, refusals and the export."""

import pytest
import torch
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.layout import END, Layout, Number
from aepipe.models.backbone import best_for
from aepipe.models.base import Model
from aepipe.models.families import build
from aepipe.models.layers.attention import TransformerBlock
from tests.support.layouts import LAYOUTS, MIXED, SERIES, TEXT, random_rows


def make(layout: Layout, **options: object) -> Model:
    return build(layout, Section.model_validate({"family": "ae", "trunk": "transformer", **options}), 0).eval()


def latents(model: Model, tensors: dict[str, Tensor]) -> Tensor:
    return model.posterior(model.preprocessing(tensors)).mean.detach()


def rows_of(layout: Layout, rows: int = 40) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in random_rows(layout, rows).items()}


def test_a_block_is_torch_s_pre_norm_encoder_layer() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(16, 4).double()
    wanted = nn.TransformerEncoderLayer(
        16, 4, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    attention = wanted.self_attn
    assert isinstance(attention.in_proj_weight, Tensor)
    pairs = {
        attention.in_proj_weight: block.queries_keys_values.weight,
        attention.in_proj_bias: block.queries_keys_values.bias,
        attention.out_proj.weight: block.mixed.weight,
        attention.out_proj.bias: block.mixed.bias,
        wanted.norm1.weight: block.before.weight,
        wanted.norm1.bias: block.before.bias,
    }
    with torch.no_grad():
        for parameter, value in pairs.items():
            parameter.copy_(torch.randn_like(value))
            value.copy_(parameter)
    norm, grow, _, shrink = block.feed
    for mine, theirs in ((norm, wanted.norm2), (grow, wanted.linear1), (shrink, wanted.linear2)):
        theirs.load_state_dict(mine.state_dict())
    tokens = torch.randn(3, 7, 16, dtype=torch.float64)
    valid = torch.arange(7) < torch.tensor([[7], [4], [1]])

    expected = wanted(tokens, src_key_padding_mask=~valid)

    torch.testing.assert_close(block(tokens, valid)[valid], expected[valid])


def test_steps_beyond_the_end_of_a_window_change_nothing() -> None:
    model, rows = make(SERIES), rows_of(SERIES)
    first = latents(model, rows)

    beyond = torch.arange(9)[None, :, None] >= rows["length"][:, None, None]
    other = latents(model, {**rows, "steps": rows["steps"].masked_fill(beyond, 99.0)})

    torch.testing.assert_close(first, other)
    inside = latents(model, {**rows, "steps": rows["steps"] + 1.0})
    assert not torch.isclose(first, inside, atol=1e-3).all(1).any()


def test_tokens_after_the_end_of_a_text_change_nothing_and_their_order_counts() -> None:
    model, rows = make(TEXT), rows_of(TEXT)
    rows["cat"][:, 2] = END
    first = latents(model, rows)

    after, swapped = rows["cat"].clone(), rows["cat"].clone()
    after[:, 3:6] = 7
    swapped[:, :2] = rows["cat"][:, :2].flip(1)

    torch.testing.assert_close(first, latents(model, {**rows, "cat": after}))
    moved = (first - latents(model, {**rows, "cat": swapped})).abs().amax(1) > 1e-4
    assert (moved == (rows["cat"][:, 0] != rows["cat"][:, 1])).all()


@pytest.mark.parametrize("name", ["mixed", "categories", "text"])
def test_each_token_of_the_decoder_gives_the_parameters_of_its_own_column(name: str) -> None:
    layout = LAYOUTS[name]
    model = make(layout)
    row = model.preprocessing(rows_of(layout))
    decoder = model.decoder
    assert isinstance(decoder, nn.Module)
    heads, queries = decoder.heads, decoder.queries
    assert isinstance(heads, nn.Module)
    assert isinstance(queries, nn.Module)
    tokens = queries(torch.randn(40, len(model.latent.names))).detach()
    columns = int(tokens.shape[1]) - len(layout.texts)
    tail = model.likelihood.width - heads(tokens[:, :columns]).shape[1]

    def losses(each: Tensor) -> Tensor:
        params = torch.cat([heads(each[:, :columns]), torch.zeros(40, tail)], 1)
        return model.likelihood.nll(params, row).detach()

    words = range(len(layout.numbers), len(layout.numbers) + sum(text.length for text in layout.texts))
    places = [at for at in range(layout.features) if at not in words]
    for column in range(columns):
        other = tokens.clone()
        other[:, column] += 1.0
        changed = (losses(tokens) != losses(other)).any(0).nonzero().flatten().tolist()
        assert changed == [places[column]]


def test_the_defaults_of_other_rows_stay() -> None:
    found = [best_for(kind) for kind in ("table", "series", "text", "image")]

    assert found == ["mlp", "recurrent", "recurrent", "conv"]


@pytest.mark.parametrize(
    ("layout", "options", "sentence"),
    [
        (MIXED, {"width": 30}, "width = 30 is not a multiple of heads = 4: choose a width that is"),
        (MIXED, {"heads": 0}, "heads = 0: Input should be greater than or equal to 1"),
        (LAYOUTS["grey"], {}, "transformer' does not fit the rows: expected series or table or text, got image"),
        (
            Layout(columns=("a",) * 1_025, numbers=tuple(Number(name=f"n{at}", column=at) for at in range(1_025))),
            {},
            "expected at most 1,024 columns and tokens of texts, got 1,025; use trunk = 'mlp'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(layout: Layout, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid, match=sentence):
        make(layout, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed", "series"])
def test_the_export_takes_any_number_of_rows(name: str) -> None:
    exported = export_parts(make(LAYOUTS[name]).parts(), random_rows(LAYOUTS[name], 512))

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler"]

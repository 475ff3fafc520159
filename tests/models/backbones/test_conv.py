import pytest
import torch

from aepipe.layout import Image, Layout
from aepipe.models.backbones.conv import BACKBONE, Options, Stage, SubPixel
from aepipe.models.layers.likelihood import LikelihoodOptions, make_likelihood
from aepipe.models.layers.preprocessing import Row


@pytest.mark.parametrize("height,width", [(7, 13), (5, 5), (8, 8), (28, 28), (1, 9), (3, 2), (33, 64)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [Options(), Options(upsampling="subpixel")])
def test_the_decoder_answers_every_pixel_of_the_input(options: Options, height: int, width: int, channels: int) -> None:
    layout = Layout(columns=("i",), image=Image(channels=channels, height=height, width=width))
    likelihood = make_likelihood(layout, LikelihoodOptions())
    row = Row(torch.rand(2, channels, height, width), torch.ones(0), torch.ones(0), torch.ones(0))

    code = BACKBONE.encoder(layout, options, 4)(row)
    params = BACKBONE.decoder(layout, options, 4, likelihood)(code)

    assert code.shape == (2, 4)
    assert params.shape == (2, channels * height * width)


@pytest.mark.parametrize("options", [Options(), Options(upsampling="subpixel")])
def test_every_pixel_depends_on_the_code_and_the_code_on_every_pixel(options: Options) -> None:
    layout = Layout(columns=("i",), image=Image(channels=2, height=7, width=13))
    likelihood = make_likelihood(layout, LikelihoodOptions())
    encoder = BACKBONE.encoder(layout, options, 4)
    decoder = BACKBONE.decoder(layout, options, 4, likelihood)
    pixels = torch.rand(1, 2, 7, 13, requires_grad=True)

    encoder(Row(pixels, torch.ones(0), torch.ones(0), torch.ones(0))).square().sum().backward()
    params = decoder(torch.randn(1, 4)) - decoder(torch.randn(1, 4))

    assert pixels.grad is not None
    assert (pixels.grad != 0).all()
    assert (params != 0).all()


def test_each_channel_count_halves_the_image_once() -> None:
    layout = Layout(columns=("i",), image=Image(channels=1, height=28, width=28))

    encoder = BACKBONE.encoder(layout, Options(channels=(4, 8)), 4)

    assert [tuple(p.shape[:2]) for p in encoder.parameters() if p.dim() == 4] == [(4, 1), (8, 4)]


def test_subpixel_answers_are_the_channels_of_a_convolution_at_half_the_size() -> None:
    maps = torch.rand(2, 3, 4, 7)
    layer = SubPixel(3, 2, Stage(1, 7, 13))

    found = layer(maps)

    conv = layer.layers[0]
    wanted = conv(maps).reshape(2, 2, 2, 2, 4, 7)  # rows, outputs, offset down, offset right
    for down in (0, 1):
        for right in (0, 1):
            seen = found[:, :, down::2, right::2]
            torch.testing.assert_close(seen, wanted[:, :, down, right, : seen.shape[2], : seen.shape[3]])


@pytest.mark.parametrize("channels", [1, 3])
def test_feature_maps_of_training_are_channels_last_and_the_codes_those_of_scoring(channels: int) -> None:
    """Grey pixels are in both orders at once, and convolutions take them for channels first."""
    layout = Layout(columns=("i",), image=Image(channels=channels, height=12, width=12))
    encoder = BACKBONE.encoder(layout, Options(), 4)
    row, is_last = Row(torch.rand(5, channels, 12, 12), torch.ones(0), torch.ones(0), torch.ones(0)), list[bool]()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda *args: is_last.append(args[-1].is_contiguous(memory_format=torch.channels_last))
            )

    trained = encoder.train()(row)
    scored = encoder.eval()(row)

    assert is_last[: len(is_last) // 2] == [True, True]
    torch.testing.assert_close(trained, scored)

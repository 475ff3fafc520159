import torch

from aepipe.config.job import Model as Section
from aepipe.models.base import Batch
from aepipe.models.export_parts import latent_port, named, standard_parts
from aepipe.models.families import build
from tests.support.layouts import GREY, MIXED, random_rows


def test_rows_go_through_encoder_and_decoder_in_source_units() -> None:
    model = build(MIXED, Section(family="pca", latent=4), 0)
    tensors = tuple(torch.from_numpy(array) for array in random_rows(MIXED, 300).values())
    row = model.preprocessing(named(MIXED, tensors))
    model.prepare(Batch(row, row))
    encoder, decoder, _ = standard_parts(model.eval())

    num, cat = decoder.module(*encoder.module(*tensors))

    seen = ~torch.isnan(tensors[0])
    assert torch.corrcoef(torch.stack([num[:, 1], tensors[0][:, 1]]))[0, 1] > 0.9
    assert (num[seen] - tensors[0][seen]).abs().mean() < 20
    assert num.dtype == torch.float32
    assert cat.dtype == torch.int32
    assert not torch.isnan(num).any()


def test_the_sampler_takes_the_noise_that_its_ports_name() -> None:
    model = build(MIXED, Section(family="vae"), 0).eval()
    sampler = standard_parts(model)[2]
    z = torch.zeros(9, len(model.latent.names))

    first = sampler.module(z, torch.zeros(9, 2), torch.full((9, 4), 0.5))
    again = sampler.module(z, torch.zeros(9, 2), torch.full((9, 4), 0.5))
    other = sampler.module(z, torch.ones(9, 2), torch.full((9, 4), 0.5))

    assert [port.name for port in sampler.inputs] == ["z", "eps", "u"]
    assert [port.noise for port in sampler.inputs] == [None, "normal", "uniform"]
    assert torch.equal(first[0], again[0])
    assert (other[0] > first[0]).all()


def test_an_image_is_drawn_without_grain() -> None:
    model = build(GREY, Section(family="vae"), 0).eval()
    _, decoder, sampler = standard_parts(model)
    z = torch.randn(3, 16)

    assert sampler.inputs == (latent_port(model),)
    assert torch.equal(sampler.module(z)[0], decoder.module(z)[0])
    assert decoder.module(z)[0].max() <= 16

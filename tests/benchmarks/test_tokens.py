"""Text data sets of the benchmark of tokens, and the difference of its graphs from torch."""

from aepipe.bundles.bundle import PartInfo
from aepipe.export.export import Exported
from benchmarks import tokens


def test_long_lines_have_up_to_32_tokens_and_held_out_ones_are_others() -> None:
    found = tokens.long_lines()

    lengths = [len(text.split()) for text in (*found.learned, *found.held)]
    assert 20 <= min(lengths) <= max(lengths) <= 32
    assert found.learned[0] != found.held[0]


def test_the_share_of_differing_rows_is_the_greatest_of_all_batches_and_outputs() -> None:
    parity = {"1": {"cat": {"differ": 0.0}}, "512": {"cat": {"differ": 0.004}, "num": {"abs": 3.0, "rel": 0.1}}}
    info = PartInfo(inputs=(), outputs=(), rtol=1e-4, atol=1e-4, parity=parity)

    assert tokens.differing(Exported("sampler", b"", info)) == 0.004
    assert tokens.differing(Exported("encoder", b"", info.model_copy(update={"parity": {}}))) == 0.0

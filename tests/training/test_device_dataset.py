import pytest
import torch

from aepipe.models.layers.preprocessing import Preprocessing
from aepipe.training.device_dataset import DeviceDataset
from tests.support.layouts import LAYOUTS, random_rows


@pytest.mark.parametrize("name", LAYOUTS)
def test_picked_rows_are_preprocessed(name: str) -> None:
    arrays = random_rows(LAYOUTS[name], 50)
    preprocessing = Preprocessing(LAYOUTS[name])
    index = torch.tensor([7, 3, 3, 49])

    picked = DeviceDataset(preprocessing, arrays, torch.device("cpu")).pick(index)

    oracle = preprocessing({key: torch.from_numpy(array[index.numpy()]) for key, array in arrays.items()})
    assert picked.input is picked.target
    assert picked.places is index
    for one, other in zip(picked.input, oracle, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", LAYOUTS)
def test_slices_are_all_rows_in_order(name: str) -> None:
    arrays = random_rows(LAYOUTS[name], 50)
    resident = DeviceDataset(Preprocessing(LAYOUTS[name]), arrays, torch.device("cpu"))

    slices = list(resident.slices(20))

    assert [len(batch.input.dense) for batch in slices] == [20, 20, 10]
    whole = resident.pick(torch.arange(50)).input
    for part, oracle in zip(zip(*(batch.input for batch in slices), strict=True), whole, strict=True):
        assert torch.equal(torch.cat(part), oracle)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_data_set_may_be_empty(name: str) -> None:
    arrays = {key: array[:0] for key, array in random_rows(LAYOUTS[name], 1).items()}

    assert DeviceDataset(Preprocessing(LAYOUTS[name]), arrays, torch.device("cpu")).rows == 0


def test_rows_that_cannot_be_written_to_are_taken_without_a_warning() -> None:
    arrays = random_rows(LAYOUTS["numbers"], 5)
    arrays["num"].setflags(write=False)

    assert DeviceDataset(Preprocessing(LAYOUTS["numbers"]), arrays, torch.device("cpu")).rows == 5

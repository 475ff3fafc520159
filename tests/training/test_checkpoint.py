import logging
from pathlib import Path

import pytest
import torch

from aepipe.training.checkpoint import Checkpointer

CPU = torch.device("cpu")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "at.pt"
    Checkpointer(path, "key", 0).keep(lambda: {"weights": {"a": torch.arange(3)}, "epochs": [1.5, "two", None]})
    return path


def test_what_was_kept_is_found(kept: Path) -> None:
    found = Checkpointer(kept, "key", 0).find(CPU)

    assert found is not None
    assert found["weights"]["a"].tolist() == [0, 1, 2]
    assert found["epochs"] == [1.5, "two", None]


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert Checkpointer(tmp_path / "none.pt", "key", 0).find(CPU) is None


def test_the_checkpoint_of_another_training_is_not_taken(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Checkpointer(kept, "other", 0).find(CPU) is None

    assert "belongs to another training run" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_broken_checkpoint_is_not_taken(kept: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    kept.write_bytes(kept.read_bytes()[:-200] if damage is None else damage)

    with caplog.at_level(logging.WARNING):
        assert Checkpointer(kept, "key", 0).find(CPU) is None

    assert "training starts from scratch" in caplog.text


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"key": "key", "harm": Harm()}, tmp_path / "at.pt")

    assert Checkpointer(tmp_path / "at.pt", "key", 0).find(CPU) is None
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_is_written_at_most_at_the_requested_rate(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "at.pt", "key", 1_000)

    checkpointer.keep(lambda: pytest.fail("it is not time yet"))

    assert not checkpointer.path.exists()

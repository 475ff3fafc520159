"""Many partitions at once: ordered results, separate failures, no idle workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.engines.local import MachineSettings, PartitionResult, ScoreSettings, run
from aepipe.engines.scheduler import PartitionScheduler
from aepipe.errors import BundleCorrupt, Busy, DeviceUnavailable
from aepipe.inference.session import Session, usable_device
from aepipe.progress import Progress
from aepipe.storage import SCORE, Outputs
from aepipe.tables.partitions import Partition
from tests.support.linear_bundle import make_bundle, numbers

has_gpu = usable_device("auto")[0] == "cuda"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


class Nights:
    """Partitions of different sizes in a folder."""

    def __init__(self, folder: Path, sizes: tuple[int, ...] = (50, 0, 700, 120, 1)) -> None:
        self.out = folder / "out"
        self.partitions = []
        for index, size in enumerate(sizes):
            path = folder / f"dt=2026-01-0{index + 1}" / "part-0.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(numbers(size, seed=index), path, row_group_size=64)
            self.partitions.append(Partition(path.parent.name, (path,)))

    def run(
        self,
        bundle: Bundle,
        *,
        first: int = 0,
        wait_s: float = 600,
        progress: Progress | None = None,
        **machine: object,
    ) -> list[PartitionResult]:
        options = MachineSettings(**{"device": "cpu", "workers": 2, **machine})  # type: ignore[arg-type]
        return run(bundle, self.partitions[first:], ScoreSettings(self.out, wait_s=wait_s), options, progress=progress)

    def scores(self, index: int) -> np.ndarray:
        path = self.out / "scores" / self.partitions[index].name / "part-0.parquet"
        return pq.ParquetFile(path).read()["score"].to_numpy()

    def truth(self, index: int) -> np.ndarray:
        table = pq.ParquetFile(self.partitions[index].files[0]).read()
        return np.abs(np.stack([table[name].to_numpy() for name in "abc"])).sum(axis=0)


def statuses(results: list[PartitionResult]) -> list[str]:
    return [result.status for result in results]


@pytest.mark.parametrize("workers", [1, 2, 8, None])
def test_every_partition_is_scored_with_any_number_of_workers(
    tmp_path: Path, bundle: Bundle, workers: int | None
) -> None:
    nights = Nights(tmp_path)

    results = nights.run(bundle, workers=workers, batch_rows=16)

    assert [result.partition for result in results] == [partition.name for partition in nights.partitions]
    assert statuses(results) == ["written"] * 5
    for index in range(5):
        np.testing.assert_allclose(nights.scores(index), nights.truth(index), rtol=1e-5)


def test_commits_that_are_held_back_are_published_before_a_worker_waits_for_a_lock(
    tmp_path: Path, bundle: Bundle
) -> None:
    """Two processes that each hold the lock the other needs would otherwise wait until one times out."""
    nights, results = Nights(tmp_path, (50, 60, 70)), list[PartitionResult]()
    outputs, names = Outputs(nights.out), [partition.name for partition in nights.partitions]
    scoring = threading.Thread(target=lambda: results.extend(nights.run(bundle, workers=1)))

    with outputs.commit(SCORE, names[1]):  # as another process would hold it
        scoring.start()
        deadline = time.monotonic() + 60
        while outputs.manifest(SCORE, names[0]) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        published = outputs.partitions(SCORE)
    scoring.join()

    assert published == (names[0],)
    assert statuses(results) == ["written"] * 3


@pytest.mark.parametrize("damaged", [(1,), (1, 2), (0, 1, 3), (2, 4), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("is_readable", [True, False])
def test_quarantined_partitions_stop_no_worker_that_holds_commits_back(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, damaged: tuple[int, ...], is_readable: bool
) -> None:
    """No other worker could wake the only one, so it must never wait for a slot."""

    def refuse_to_wait(_: PartitionScheduler, index: int) -> None:
        raise AssertionError(f"the worker waits for a slot for partition {index}")

    monkeypatch.setattr(PartitionScheduler, "acquire_slot", refuse_to_wait)
    monkeypatch.setattr(local, "_MOST_HELD_S", 1e9)
    nights = Nights(tmp_path, (50, 60, 70, 80, 90))
    for index in damaged:
        (file,) = nights.partitions[index].files
        if is_readable:
            pq.write_table(numbers(50).drop_columns(["a"]), file)
        else:
            file.write_bytes(file.read_bytes()[:-1])

    results = nights.run(bundle, workers=1)

    assert statuses(results) == ["quarantined" if index in damaged else "written" for index in range(5)]
    assert set(Outputs(nights.out).partitions(SCORE)) == {
        partition.name for index, partition in enumerate(nights.partitions) if index not in damaged
    }


def test_small_partitions_are_published_together_and_results_are_reported_afterwards(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_MOST_HELD_S", 1e9)
    nights = Nights(tmp_path, (50, 60, 70, 80))
    seen: list[tuple[str, int]] = []

    def note(name: str, _: float) -> None:
        seen.append((name, len(Outputs(nights.out).partitions(SCORE))))

    nights.run(bundle, workers=1, progress=note)

    assert {count for _, count in seen} == {0, 4}


def test_an_engine_opens_one_session_per_worker_for_all_its_runs(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(local, "Session", lambda *a, **options: opened.append(a) or Session(*a, **options))
    nights, engine = Nights(tmp_path), local.LocalEngine(bundle, MachineSettings("cpu", workers=2))

    for partition in nights.partitions:
        engine.run([partition], ScoreSettings(nights.out))

    assert len(opened) <= 2


def test_workers_without_work_open_no_session(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(local, "Session", lambda *a, **options: opened.append(a) or Session(*a, **options))
    nights, engine = Nights(tmp_path), local.LocalEngine(bundle, MachineSettings("cpu", workers=16))

    engine.run(nights.partitions[:1], ScoreSettings(nights.out))

    assert len(opened) <= 2  # the checked one, and one for the block if another worker was first


def test_workers_may_share_sessions(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    nights = Nights(tmp_path)
    made: list[Session] = []

    class Counted(Session):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(local, "sessions_to_share", lambda device, workers: 2)
    monkeypatch.setattr(local, "Session", Counted)
    nights.run(bundle, workers=5)

    assert len(made) == 2
    for index in range(5):
        np.testing.assert_allclose(nights.scores(index), nights.truth(index), rtol=1e-5)


def test_workers_share_the_sessions_that_could_be_opened(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights = Nights(tmp_path)
    left = [True]

    def opened_once(*arguments: Any, **options: Any) -> Session:
        if not left:
            raise RuntimeError("CUDA failure 2: out of memory")
        left.pop()
        return Session(*arguments, **options)

    monkeypatch.setattr(local, "sessions_to_share", lambda device, workers: 2)
    monkeypatch.setattr(local, "Session", opened_once)
    results = nights.run(bundle, workers=3)

    assert statuses(results) == ["written"] * 5
    assert "1 sessions share the work" in caplog.text


@pytest.mark.parametrize(("memory_mb", "at_once"), [(None, 3), (260, 3), (250, 1), (128, 1)])
def test_little_memory_opens_fewer_partitions_and_all_are_scored(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, memory_mb: int | None, at_once: int
) -> None:
    nights = Nights(tmp_path)
    asked: list[int] = []

    class Asked(PartitionScheduler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            asked.append(options["max_concurrent"])

    monkeypatch.setattr(local, "PartitionScheduler", Asked)
    nights.run(bundle, workers=3, memory_mb=memory_mb)

    assert asked == [at_once]
    for index in range(5):
        np.testing.assert_allclose(nights.scores(index), nights.truth(index), rtol=1e-5)


def test_idle_workers_join_a_running_partition(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path, sizes=(150_000,))

    (result,) = nights.run(bundle, workers=4)

    assert result.status == "written"
    np.testing.assert_allclose(nights.scores(0), nights.truth(0), rtol=1e-5)


def test_scoring_again_finds_everything_done(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)
    nights.run(bundle)

    assert statuses(nights.run(bundle)) == ["already done"] * 5


def test_bad_partitions_are_quarantined_and_the_others_scored(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)
    truncated, changed, invalid = (nights.partitions[index].files[0] for index in (0, 2, 3))
    truncated.write_bytes(truncated.read_bytes()[:-20])
    pq.write_table(numbers(10).drop_columns("b"), changed)
    pq.write_table(numbers(10).set_column(1, "a", [np.full(10, np.inf, np.float32)]), invalid)

    results = nights.run(bundle)

    assert statuses(results) == ["quarantined", "written", "quarantined", "quarantined", "written"]
    kept = Outputs(nights.out).quarantined()
    assert kept == {result.partition: result.reason for result in results if result.status == "quarantined"}
    assert "not a complete Parquet" in kept["dt=2026-01-01"]
    assert "has no column 'b'" in kept["dt=2026-01-03"]
    assert "10 of 10 rows cannot be scored" in kept["dt=2026-01-04"]
    np.testing.assert_allclose(nights.scores(4), nights.truth(4), rtol=1e-5)


def test_repaired_partition_leaves_the_quarantine(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)
    (path,) = nights.partitions[2].files
    whole = path.read_bytes()
    nights.run(bundle)
    path.write_bytes(whole[:50])
    assert statuses(nights.run(bundle)).count("quarantined") == 1
    np.testing.assert_array_equal(len(nights.scores(2)), 700)
    path.write_bytes(whole)

    assert statuses(nights.run(bundle)) == ["already done"] * 5
    assert not Outputs(nights.out).quarantined()


def test_partition_with_a_bad_name_does_not_stop_the_others(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path, sizes=(5, 5))
    nights.partitions[0] = nights.partitions[0]._replace(name="../elsewhere")

    results = nights.run(bundle)

    assert statuses(results) == ["quarantined", "written"]
    assert "../elsewhere" in (results[0].reason or "")


def test_progress_grows_to_one_and_names_the_partitions(tmp_path: Path, bundle: Bundle) -> None:
    nights, reported = Nights(tmp_path), []

    nights.run(bundle, progress=lambda what, share: reported.append((what, share)))

    shares = [share for _, share in reported]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert {what for what, _ in reported} == {partition.name for partition in nights.partitions}


@pytest.mark.parametrize("workers", [1, 3])
def test_interrupt_stops_all_workers_and_leaves_whole_partitions(tmp_path: Path, bundle: Bundle, workers: int) -> None:
    nights = Nights(tmp_path, sizes=(50,) * 9)

    def interrupt(what: str, share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nights.run(bundle, workers=workers, progress=interrupt)

    written = list(nights.out.glob("scores/*/part-0.parquet"))
    assert len(written) < 9
    assert not list((nights.out / ".aepipe" / "staging").rglob("*.*"))
    assert all(pq.read_metadata(path).num_rows == 50 for path in written)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aepipe")]


def test_interrupt_stops_the_digest_of_a_file(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.storage.digests.refuse_irregular", lambda path: None)  # a pipe stands for a large file
    nights = Nights(tmp_path, sizes=(50, 0))
    nights.run(bundle, first=1)  # what was scored before is digested before anything else
    (endless,) = nights.partitions[1].files
    endless.unlink()
    os.mkfifo(endless)
    is_read, was_heard = threading.Event(), threading.Event()

    def feed() -> None:
        with suppress(BrokenPipeError), endless.open("wb", buffering=0) as pipe:
            for _ in range(5_000):  # five seconds at least
                pipe.write(bytes(1024))
                is_read.set()
                time.sleep(1e-3)
            endless.unlink()  # unblock the reader
            return
        was_heard.set()

    def interrupt(what: str, share: float) -> None:
        is_read.wait()
        raise KeyboardInterrupt

    feeder = threading.Thread(target=feed)
    feeder.start()
    with pytest.raises(KeyboardInterrupt):
        nights.run(bundle, workers=2, progress=interrupt)
    feeder.join()

    assert was_heard.is_set()
    assert [path.name for path in nights.out.glob("scores/*")] == [nights.partitions[1].name]


def test_bundle_that_fails_its_golden_rows_scores_nothing(tmp_path: Path) -> None:
    wrong = make_bundle(tmp_path / "wrong", numbers(60), data={"keys": ["id"]}, shift=1.0)
    nights = Nights(tmp_path)

    with pytest.raises(BundleCorrupt, match="golden row"):
        nights.run(wrong)
    assert not nights.out.exists()


def test_bundle_that_fails_its_golden_rows_leaves_earlier_scores(tmp_path: Path, bundle: Bundle) -> None:
    wrong = make_bundle(tmp_path / "wrong", numbers(60), data={"keys": ["id"]}, shift=1.0)
    nights = Nights(tmp_path)
    nights.run(bundle)
    before = {path: path.read_bytes() for path in nights.out.rglob("*.parquet")}

    with pytest.raises(BundleCorrupt, match="golden row"):
        nights.run(wrong)

    assert {path: path.read_bytes() for path in nights.out.rglob("*.parquet")} == before
    assert Outputs(nights.out).verify() == []
    assert Outputs(nights.out).quarantine_notes() == ()


def test_locked_partition_raises_busy_after_the_others(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)

    with Outputs(nights.out).commit(SCORE, "dt=2026-01-01", "another"), pytest.raises(Busy):
        nights.run(bundle, wait_s=0.05)

    assert len(list(nights.out.glob("scores/*/part-0.parquet"))) == 4


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_unavailable_device_is_refused_before_anything_is_written(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)

    with pytest.raises(DeviceUnavailable):
        nights.run(bundle, device="cuda")
    assert not nights.out.exists()


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu, reason="there is no GPU")
def test_gpu_scores_equal_cpu_scores_and_manifest_names_the_provider(tmp_path: Path, bundle: Bundle) -> None:
    nights = Nights(tmp_path)

    results = nights.run(bundle, device="cuda")

    assert {result.details.provider for result in results} == {"CUDAExecutionProvider"}
    for index in range(5):
        np.testing.assert_allclose(nights.scores(index), nights.truth(index), rtol=1e-4)


def test_no_partitions_give_no_results(bundle: Bundle) -> None:
    assert run(bundle, [], ScoreSettings(Path("out"))) == []


def test_scoring_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'prefect', 'onnx'}"
    code = f"import sys, aepipe.engines.local, aepipe.inference.sampler; print({heavy} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"


INTERRUPTED = """
import signal, sys
from pathlib import Path
from aepipe.bundles.bundle import Bundle
from aepipe.engines.local import MachineSettings, ScoreSettings, run
from aepipe.tables.partitions import Partition

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored
bundle, folder = Bundle.open(sys.argv[1]), Path(sys.argv[2])
partitions, machine = [Partition("p", (folder / "p.parquet",) * 40)], MachineSettings(device="cpu", workers=2)
run(bundle, partitions, ScoreSettings(folder / "out"), machine, progress=lambda what, share: print(share, flush=True))
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_process_and_leaves_nothing_behind(tmp_path: Path, bundle: Bundle) -> None:
    pq.write_table(numbers(3_000_000), tmp_path / "p.parquet")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(bundle.path), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert not (tmp_path / "out" / "scores").exists()
    assert not list((tmp_path / "out" / ".aepipe" / "staging").rglob("*.*"))

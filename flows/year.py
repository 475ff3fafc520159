"""A year of nights in minutes: `python -m flows.year` replays 2013 through the real flows, on a clock of its own.

Each simulated night brings the flights of one day and runs the nightly flow. Incidents happen on the way: late rows, a
renamed column, a damaged file, killed processes, a model that the gate refuses, drift, a promotion and a rollback. At
the end every flight must have exactly one score, by the model that was champion when its night was scored.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, ArgumentInvalid
from aepipe.jobs.alarm_warnings import far_above_alpha
from aepipe.jobs.example_flights import FIRST_DAY, LAST_DAY, read_flights
from aepipe.jobs.promotion.promote import promote, rollback
from aepipe.storage import HIDDEN, SCORE, Outputs, put_bytes, put_parquet
from aepipe.versions import named_extras
from flows.engine import Unfinished, outcome
from flows.nightly import NightlyResult, NightOptions, nightly
from flows.prefect_api import get_client
from flows.train import TrainOptions, train

ROOT = Path(__file__).resolve().parent.parent
KEPT = 60
LATE_SHARE = 0.2
STORMS = tuple(f"dt=2013-{day}" for day in ("02-08", "02-09", "03-08", "05-23", "07-10", "09-12", "12-05"))
MARK = "# Replay of a year of flights, written by flows/year.py; its folder is replaced by the next replay."
JOB = """\
{mark}
name = "flights"

[data]
path = "data"
keys = ["flight_id"]
labels = ["status"]
event_time = "scheduled"

[columns]
arrival_delay_min = {{ transform = "linear" }}

[model]
family = "vae"
latent = 4

[train]
{condition}max_rows = {rows}
epochs = {epochs}

[calibration]
alpha = 0.05

[score]
head = "elbo"
rescore = false            # each night keeps the scores of the model that was champion then

[promotion]
automatic = true

[drift]
cool_down = 30
retrain = "lasting"

[samples]
rows = 0

[output]
path = "out"
keep = {kept}

[[publish]]
delta = "scores_table"     # keeps the scores of nights that expire
"""


class YearFailed(AepipeError):
    """The scores of a replay are not those expected. Remedy: report it, with the events that were printed."""


class Scale(NamedTuple):
    """Length of a replay, and the effort of a training."""

    first: date
    last: date
    training_nights: int
    kept: int
    train_rows: int
    epochs: int
    has_seasons: bool
    """long enough for the flights to drift for good"""


YEAR = Scale(FIRST_DAY, LAST_DAY, training_nights=31, kept=60, train_rows=20_000, epochs=12, has_seasons=True)
MONTH = Scale(
    date(2013, 1, 20), date(2013, 2, 18), training_nights=10, kept=14, train_rows=3_000, epochs=5, has_seasons=False
)


class Scored(NamedTuple):
    """Latest scores of one night: the version, the number of rows, the share that is flagged, the first reason."""

    version: str
    rows: int
    share: float
    reason: str
    is_far_above: bool


class Replay:
    """Source, job and outputs of a replay, with what is known of it without reading the outputs."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self.job = folder / "job.toml"
        self.nights = read_flights(scale.first, scale.last)
        self.scored: dict[str, Scored] = {}
        self.failed: Counter[str] = Counter()
        self.events: list[str] = []
        self.drifted: list[date] = []
        self.extra_from: date | None = None
        self.write_job()

    def write_job(self, condition: str = "") -> None:
        """Write the job file; condition: a line of [train]."""
        scale = self.scale
        text = JOB.format(mark=MARK, condition=condition, rows=scale.train_rows, epochs=scale.epochs, kept=scale.kept)
        put_bytes(self.job, text.encode())

    @property
    def champion(self) -> str:
        """Version that is champion now."""
        return Registry(read_job(self.job).bundle_path).resolve("champion").name

    def tell(self, day: date, event: str) -> None:
        """Print an event and keep it for the report."""
        self.events.append(f"{day}  {event}")
        print(self.events[-1], flush=True)

    def file(self, day: date, part: int = 0) -> Path:
        """Return the path of a file of a night."""
        return self.folder / "data" / f"dt={day}" / f"part-{part}.parquet"

    def table(self, day: date) -> pa.Table:
        """Return the flights of a day; from a day on the source has one column more."""
        table = self.nights[f"dt={day}"]
        if self.extra_from is None or day < self.extra_from:
            return table
        return table.append_column("terminal", pa.array(["A"] * len(table)))

    def deliver(self, day: date) -> None:
        """Write the flights of a day."""
        put_parquet(self.file(day), self.table(day))

    def run(self, day: date) -> None:
        """Run the nightly flow, and note its scores and its training."""
        before = self.champion if Registry(read_job(self.job).bundle_path).has_champion else None
        answer = outcome(nightly(NightOptions(job=self.job, samples=False), return_state=True))
        night = answer.done if isinstance(answer, Unfinished) else answer
        if not isinstance(night, NightlyResult):
            raise night if isinstance(night, BaseException) else TypeError(f"no result of a night: {night!r}")
        version = before or self.champion
        if night.train is not None:
            self.tell(day, f"trained the first model on {night.train.rows['train']:,} flights: {version}")
        self._note_scores(day, night, version)
        names = sorted({stream.name for _, stream in night.drift.alarms}) if night.drift is not None else []
        if names:
            what = "not lasting, nothing is trained" if night.challenger is None else "lasting, trained a challenger"
            self.tell(day, f"drift of {', '.join(names)}: {what}")
        if night.challenger is not None:
            self.drifted.append(day)
            self._tell_challenger(day, night.challenger.version, version)

    def _note_scores(self, day: date, night: NightlyResult, version: str) -> None:
        """Keep what is known of the partitions of a night, which this version has scored."""
        calibration = open_bundle(read_job(self.job), version).calibration
        above = {each.partition for each in far_above_alpha(night.nights, calibration)}
        for each in night.nights:
            if each.status == "written":
                reasons = each.details.flag_reasons
                reason = max(reasons, key=reasons.__getitem__, default="no column")
                share = each.flagged / each.scored
                self.scored[each.partition] = Scored(version, each.rows, share, reason, each.partition in above)
            elif each.status == "quarantined" and not self.failed[each.partition]:
                self.failed[each.partition] += 1
                self.tell(day, f"{each.partition} is quarantined: {each.reason}")

    def train(self, day: date) -> None:
        """Train a challenger, which the gate of [promotion] makes champion or refuses."""
        before = self.champion
        answer = outcome(train(TrainOptions(job=self.job), return_state=True))
        if isinstance(answer, BaseException):
            raise answer
        self._tell_challenger(day, answer.version, before)

    def _tell_challenger(self, day: date, version: str, before: str) -> None:
        after = "is champion" if self.champion != before else "was refused by the gate"
        self.tell(day, f"the challenger {version} {after}")


Incident: TypeAlias = Callable[[Replay, date], None]
"""Something that happens on a day, before the nightly run."""


def withhold_late_rows(replay: Replay, day: date) -> None:
    """Deliver all but the last flights of the day."""
    table = replay.table(day)
    put_parquet(replay.file(day), table.slice(0, len(table) - _late_rows(table)))
    replay.tell(day, f"{_late_rows(table)} flights of the day are late")


def deliver_late_rows(replay: Replay, day: date, *, of: date) -> None:
    """Deliver the late flights of an earlier day in a second file."""
    table = replay.table(of)
    put_parquet(replay.file(of, 1), table.slice(len(table) - _late_rows(table)))
    replay.tell(day, f"the late flights of {of} arrived")


def rename_column(replay: Replay, day: date) -> None:
    """Deliver the day with a renamed column."""
    table = replay.table(day)
    names = ["arrival_delay" if name == "arrival_delay_min" else name for name in table.column_names]
    put_parquet(replay.file(day), table.rename_columns(names))
    replay.tell(day, "the source renamed arrival_delay_min to arrival_delay")


def damage_file(replay: Replay, day: date) -> None:
    """Deliver the first half of the file."""
    replay.deliver(day)
    content = replay.file(day).read_bytes()
    put_bytes(replay.file(day), content[: len(content) // 2])
    replay.tell(day, "the file of the day was cut in half")


def deliver_again(replay: Replay, day: date, *, of: date) -> None:
    """Deliver the whole file of an earlier day."""
    replay.deliver(of)
    replay.tell(day, f"the file of {of} was delivered again")


def add_column(replay: Replay, day: date) -> None:
    """Give the source one column more from this day on."""
    replay.extra_from = day
    replay.tell(day, "the source has a new column, terminal, from now on")


def kill_scoring(replay: Replay, day: date) -> None:
    """Kill the nightly flow as soon as it has the lock of the day."""
    replay.deliver(day)
    locks = read_job(replay.job).out_path / HIDDEN / "locks"
    _kill(replay, "nightly", lambda log: any(locks.rglob(f"*{day}*")))
    replay.tell(day, "the nightly flow was killed while it scored")


def kill_training(replay: Replay, day: date) -> None:
    """Kill a training after its last epoch, then train again; with another seed, so that no night has trained it."""
    replay.write_job("seed = 1\n")
    _kill(replay, "train", lambda log: " train: " in log)
    replay.tell(day, "a training was killed; the next one resumes")
    replay.train(day)
    replay.write_job()


def train_on_a_part(replay: Replay, day: date) -> None:
    """Train on short flights from one airport by mistake; the gate must refuse this model."""
    before = replay.champion
    replay.write_job("""where = "origin = 'LGA' and distance_miles < 300"\n""")
    replay.train(day)
    replay.write_job()
    if replay.champion != before:
        raise YearFailed("the gate accepted a model of short flights from one airport.")


def roll_back(replay: Replay, day: date) -> None:
    """Make the previous champion the champion again."""
    replay.tell(day, f"rollback: {rollback(replay.job).sentence}")


def promote_again(replay: Replay, day: date) -> None:
    """Promote the version that was rolled back, if it passes the gate."""
    history = Registry(read_job(replay.job).bundle_path).history()
    champions = [naming.version for naming in history if naming.alias == CHAMPION]
    other = next(version for version in reversed(champions) if version != replay.champion)
    replay.tell(day, f"promotion: {promote(replay.job, other).sentence}")


def _late_rows(table: pa.Table) -> int:
    return int(LATE_SHARE * len(table))


def _kill(replay: Replay, flow: str, is_time: Callable[[str], bool]) -> None:
    """Start a flow as a process of its own on the same server, and kill it as soon as `is_time` of its messages."""
    log = replay.folder / "killed.log"
    with get_client(sync_client=True) as client, log.open("wb") as messages:
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "flows" / f"{flow}.py"), "--job", str(replay.job)],
            env=os.environ | {"PYTHONPATH": paths, "PREFECT_API_URL": str(client.api_url)},
            start_new_session=True,
            stdout=messages,
            stderr=messages,
        )
    while process.poll() is None and not is_time(log.read_text(errors="replace")):
        time.sleep(0.005)
    if process.poll() is not None:
        raise YearFailed(f"the {flow} flow ended before it was killed, with exit code {process.returncode}: see {log}.")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def year_incidents() -> dict[date, list[Incident]]:
    """Return what happens on the days of the year."""
    march, april, may, august = (partial(date, 2013, month) for month in (3, 4, 5, 8))
    return {
        date(2013, 2, 20): [kill_scoring],
        march(14): [withhold_late_rows],
        march(17): [partial(deliver_late_rows, of=march(14))],
        april(2): [rename_column],
        april(3): [partial(deliver_again, of=april(2))],
        april(20): [add_column],
        may(6): [damage_file],
        may(8): [partial(deliver_again, of=may(6))],
        may(15): [train_on_a_part],
        date(2013, 6, 20): [kill_training],
        august(1): [roll_back],
        august(8): [promote_again],
    }


def month_incidents() -> dict[date, list[Incident]]:
    """Return what happens on the days of the short replay."""
    february = partial(date, 2013, 2)
    return {
        february(1): [withhold_late_rows],
        february(3): [partial(deliver_late_rows, of=february(1)), kill_scoring],
        february(5): [rename_column],
        february(6): [partial(deliver_again, of=february(5)), add_column],
        february(10): [damage_file],
        february(11): [partial(deliver_again, of=february(10))],
        february(12): [train_on_a_part],
        february(13): [kill_training],
        february(15): [roll_back],
        february(17): [promote_again],
    }


def replay_nights(folder: Path, scale: Scale, incidents: Mapping[date, Sequence[Incident]]) -> Replay:
    """Replay the nights of a scale in a new folder, and check the scores.

    Raises:
        YearFailed: a flight has no score, several scores, or a score by another model than the champion of its night.
    """
    replay = Replay(folder, scale)
    for offset in range((scale.last - scale.first).days + 1):
        day = scale.first + timedelta(days=offset)
        for happen in incidents.get(day, ()):
            happen(replay, day)
        if not replay.file(day).exists():
            replay.deliver(day)
        if offset >= scale.training_nights - 1:
            replay.run(day)
    check_scores(replay)
    return replay


def check_scores(replay: Replay) -> None:
    """Check that every flight has exactly one score, by the champion of its night, and that seasons led to a training.

    Raises:
        YearFailed: lists every fault.
    """
    from deltalake import DeltaTable

    published = DeltaTable(str(replay.folder / "scores_table")).to_pyarrow_table()
    faults = []
    ids = Counter(published["flight_id"].to_pylist())
    expected = {flight for table in replay.nights.values() for flight in table["flight_id"].to_pylist()}
    wrong = {
        "flights without a score": len(expected - ids.keys()),
        "scores of no flight": len(ids.keys() - expected),
        "flights with several scores": sum(count > 1 for count in ids.values()),
    }
    faults += [f"{count:,} {what}" for what, count in wrong.items() if count]
    by_night = published.group_by(["dt", "model_version"]).aggregate([([], "count_all")]).to_pylist()
    versions = {name: version.version for name, version in replay.scored.items()}
    for line in by_night:
        name, version = f"dt={line['dt']}", line["model_version"].rpartition("/")[2]
        if versions.get(name) != version:
            faults.append(f"{name} was scored by {version}, the champion was {versions.get(name)}")
    kept = {manifest.partition for manifest in Outputs(replay.folder / "out").manifests(SCORE)}
    if kept != set(sorted(replay.nights)[-replay.scale.kept :]):
        faults.append(f"expected the outputs of the last {replay.scale.kept} nights, got {len(kept)}")
    if replay.scale.has_seasons and not replay.drifted:
        faults.append("no lasting drift led to a training")
    if faults:
        raise YearFailed("; ".join(faults) + ".")


def describe(replay: Replay) -> list[str]:
    """Return the lines of the report: the nights far above alpha, the largest share of flagged flights first."""
    above = sorted(
        (night for night in replay.scored.items() if night[1].is_far_above), key=lambda night: -night[1].share
    )
    flights = sum(night.rows for night in replay.scored.values())
    versions = Counter(night.version for night in replay.scored.values())
    lines = [f"{len(replay.scored):,} nights, {flights:,} flights: each has one score, by the champion of its night"]
    lines += [f"  {version}: {count} nights" for version, count in sorted(versions.items())]
    days = ", ".join(map(str, replay.drifted)) or "none"
    lines.append(f"{len(replay.drifted)} trainings because of lasting drift: {days}")
    storms = [name for name in STORMS if name in replay.scored]
    missed = [name for name in storms if name not in dict(above)]
    found = f"{len(storms) - len(missed)} of the {len(storms)} days of storms"
    lines.append(f"{len(above)} nights far above alpha, among them {found}:")
    lines += [f"  {name}  is not far above alpha" for name in missed]
    for name, night in above:
        lines.append(
            f"  {name}  {night.share:.0%} of {night.rows:,} flights flagged, most often because of {night.reason}"
        )
    return lines


def main() -> None:
    """Replay the year, or with --month a month of it, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m flows.year", description="Replay a year of nights in minutes.")
    parser.add_argument("--month", action="store_true", help="replay 30 nights around the blizzard of February")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "year", help="replaced at the start")
    options = parser.parse_args()
    began, cpu = time.perf_counter(), time.process_time()
    scale, incidents = (MONTH, month_incidents()) if options.month else (YEAR, year_incidents())
    try:
        with named_extras():
            import deltalake  # noqa: F401  the last step needs it, half an hour from now
        clear(options.folder)
        replay = replay_nights(options.folder, scale, incidents)
    except AepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, YearFailed) else 2)
    lines = describe(replay)
    put_bytes(options.folder / "report.txt", "\n".join([*replay.events, "", *lines, ""]).encode())
    print("\n".join(lines))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    print(f"report in {options.folder / 'report.txt'}; {seconds:.0f} s, {cpu_s:.0f} s of CPU time")


def clear(folder: Path) -> None:
    """Remove an earlier replay. Raises ArgumentInvalid for a folder that holds anything else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "job.toml").is_file() or not (folder / "job.toml").read_text().startswith(MARK):
            raise ArgumentInvalid("folder", [f"{folder} is not a replay: expected an empty folder or a replay"])
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

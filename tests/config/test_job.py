"""The job file: defaults, paths, and every fault at once with its line."""

import tomllib
from pathlib import Path
from typing import Any

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


def test_job_needs_only_name_and_data_path(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, 'name = "t"\n[data]\npath = "rows"\n'))

    assert job.model.family == "vae"
    assert job.data_path == tmp_path / "rows"
    assert job.bundle_path == tmp_path / "exported" / "t"
    assert job.out_path == tmp_path / "out" / "t"


def test_read_job_resolves_paths_against_the_job_file(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, FULL))

    assert (job.train.first, job.train.last) == ("2026-01-01", "2026-01-04")
    assert job.columns["amount"].kind == "number"
    assert job.columns["scan"].shape == (1, 8, 8)
    assert job.model.options == {"latent": 16, "hidden": [64, 32]}
    assert job.bundle_path == tmp_path.parent / "exported" / "cells"


def test_read_job_accepts_the_folder_of_the_job_file(tmp_path: Path) -> None:
    write(tmp_path, FULL)

    assert read_job(tmp_path).name == "cells"


def test_read_job_lists_every_fault_with_line_and_suggestion(tmp_path: Path) -> None:
    text = 'name = "t"\n[data]\npath = "."\npartitoin = "dt"\n[train]\nepochs = 0\n[scroe]\nhead = "knn"\n'

    faults = faults_of(tmp_path, text)

    assert faults == (
        "line 4: unknown key 'partitoin'; did you mean 'partition'?",
        "line 6: train.epochs: expected at least 1, got 0",
        "line 7: unknown key 'scroe'; did you mean 'score'?",
    )


def test_read_job_names_a_missing_key(tmp_path: Path) -> None:
    assert "missing key 'name'" in faults_of(tmp_path, '[data]\npath = "."\n')
    assert any("missing key 'data.path'" in fault for fault in faults_of(tmp_path, 'name = "t"\n[data]\n'))


def test_read_job_rejects_unknown_column_kind(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'name = "t"\n[data]\npath = "."\n[columns]\namount = "numbre"\n')

    assert fault.startswith("line 5: columns.amount.kind: expected 'number', 'category'")
    assert fault.endswith(", got 'numbre'")


def test_fault_in_an_array_of_tables_has_its_line(tmp_path: Path) -> None:
    first = '[[samples.constraints]]\nunique = ["id"]\n'
    text = 'name = "t"\n[data]\npath = "."\n' + first + '[[samples.constraints]]\nlow = "a"\n' + first + "strict = 3\n"

    assert faults_of(tmp_path, text) == (
        "line 6: samples.constraints.1: an order needs both low and high",
        "line 10: samples.constraints.2.strict: expected true or false, got 3",
    )


@pytest.mark.parametrize("key", ['"a = b"', "'a=b'", '"a.b=c"', '"say \\"=\\""'])
def test_fault_of_a_quoted_key_has_its_line(tmp_path: Path, key: str) -> None:
    (fault,) = faults_of(tmp_path, f'name = "t"\n[data]\npath = "."\n[columns]\n{key} = "numbre"\n')

    assert fault.startswith("line 5: columns.")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('epochs = "ten"', "train.epochs: expected an integer, got 'ten'"),
        ('learning_rate = "fast"', "train.learning_rate: expected a number, got 'fast'"),
        ("where = 3", "train.where: expected text, got 3"),
        ("seed = 1.5", "train.seed: expected an integer, got 1.5"),
        ('data = "dirty"', "train.data: expected 'clean' or 'polluted', got 'dirty'"),
    ],
)
def test_fault_states_expected_and_found_value(tmp_path: Path, line: str, message: str) -> None:
    (fault,) = faults_of(tmp_path, f'name = "t"\n[data]\npath = "."\n[train]\n{line}\n')

    assert fault == f"line 5: {message}"


def test_a_key_of_a_flag_or_a_word_has_one_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'name = "t"\n[data]\npath = "."\n[drift]\nretrain = "sometimes"\n')

    assert fault == "line 5: drift.retrain: expected true, false or 'lasting', got 'sometimes'"


def test_read_job_rejects_column_with_two_roles(tmp_path: Path) -> None:
    text = 'name = "t"\n[data]\npath = "."\nkeys = ["id"]\nlabels = ["id"]\n'

    assert faults_of(tmp_path, text) == (
        "column 'id' has two roles: expected one, got key and label. Remove one of them",
    )


def test_invalid_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'name = "t\n')

    assert "is not valid TOML" in fault
    assert "line 1" in fault


def test_missing_job_file_suggests_init(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match=r"file does not exist\. Run `aepipe init DATA` to write one"):
        read_job(tmp_path / "absent.toml")


def test_read_job_rejects_key_source(tmp_path: Path) -> None:
    assert faults_of(tmp_path, 'source = "x"\nname = "t"\n[data]\npath = "."\n') == ("line 1: unknown key 'source'",)


@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda key: key not in Job.model_fields))
def test_parse_job_rejects_every_unknown_key(key: str) -> None:
    raw = tomllib.loads(f'name = "t"\n{key} = 1\n[data]\npath = "."\n')

    with pytest.raises(JobInvalid, match=f"unknown key '{key}'"):
        parse_job(raw, source=Path("job.toml"))


@pytest.mark.parametrize("key", ["data.path", "output.path", "output.exported"])
@pytest.mark.parametrize("path", ["https://host/rows", "s3a://bucket/rows", "file:///rows"])
def test_a_url_without_a_store_is_refused_wherever_a_path_is_expected(tmp_path: Path, key: str, path: str) -> None:
    section, _, name = key.partition(".")
    raw: dict[str, Any] = {"name": "t", "data": {"path": "rows"}}
    raw.setdefault(section, {})[name] = path

    with pytest.raises(JobInvalid, match=rf"{key}: .* is not supported: expected a local path, s3://"):
        parse_job(raw, source=tmp_path / "job.toml")


def test_a_nul_character_in_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match=r"data\.path: expected a path, got text with a NUL character"):
        parse_job({"name": "t", "data": {"path": "a\0b"}}, source=tmp_path / "job.toml")


@pytest.mark.parametrize(("data", "output"), [("rows", "rows"), ("rows", "."), ("out/rows", "out"), (".", "./")])
def test_outputs_in_the_folder_of_the_data_or_above_are_refused(tmp_path: Path, data: str, output: str) -> None:
    raw = {"name": "t", "data": {"path": data}, "output": {"path": output}}

    with pytest.raises(JobInvalid, match=r"output\.path is .*, which holds the data\. Name another folder\."):
        parse_job(raw, source=tmp_path / "job.toml")


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_bytes(b"\xef\xbb\xbf" + b'name = "t"\n[data]\npath = "rows"\n')

    assert read_job(job).name == "t"


def test_values_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'name = "t"\ndata = {"[" * 5_000}{"]" * 5_000}\n')

    with pytest.raises(JobInvalid, match="nested too deeply"):
        read_job(job)


def test_more_workers_than_any_machine_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match=r"run\.workers"):
        parse_job({"name": "t", "data": {"path": "a"}, "run": {"workers": 100_000}}, source=tmp_path / "job.toml")


NUMBERS = [
    ("[train]", "weight_decay"),
    ("[train]", "seed"),
    ("[model]", "beta"),
    ("[promotion]", "max_alarm_ratio"),
    ("[samples.quality]", "frechet"),
    ("[run.ray]", "num_cpus"),
]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_number_that_is_not_finite_is_refused_once_with_its_line(
    tmp_path: Path, section: str, key: str, value: str
) -> None:
    faults = faults_of(tmp_path, f'name = "t"\n[data]\npath = "rows"\n{section}\n{key} = {value}\n')

    path = f"{section.strip('[]')}.{key}"
    assert faults == (f"line 5: {path}: expected a finite number, got {value}",)


def test_numbers_in_lists_must_be_finite_and_unknown_keys_are_named_too(tmp_path: Path) -> None:
    text = 'name = "t"\n[data]\npath = "rows"\n[train]\nwate = inf\n[train.search.train]\ntrim = [0.1, inf]\n'

    faults = faults_of(tmp_path, text)

    assert "line 7: train.search.train.trim.1: expected a finite number, got inf" in faults
    assert any("unknown key 'wate'" in fault for fault in faults)


def test_integer_that_is_too_large_is_refused_in_the_words_of_other_faults(tmp_path: Path) -> None:
    head = 'name = "t"\n[data]\npath = "rows"\n[train]\n'

    assert faults_of(tmp_path, head + "epochs = 1e99\n") == (
        "line 5: train.epochs: expected a smaller integer, got 1e+99",
    )
    assert "is not valid TOML" in faults_of(tmp_path, head + f"epochs = {'9' * 5000}\n")[0]

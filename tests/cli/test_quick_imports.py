"""Start of the commands."""

import gc
import os
import subprocess
import sys

import pytest

from aepipe.cli.quick_imports import quick_imports


def test_garbage_is_collected_again_after_the_imports() -> None:
    with quick_imports():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), quick_imports():
        raise ImportError

    assert gc.isenabled()


def test_a_process_without_collection_stays_so() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass

        assert not gc.isenabled()
    finally:
        gc.enable()


def test_only_what_the_first_imports_made_is_left_out_of_later_collections() -> None:
    code = (
        "import gc\n"
        "from aepipe.cli.quick_imports import quick_imports\n"
        "with quick_imports():\n"
        "    import decimal\n"
        "first = gc.get_freeze_count()\n"
        "with quick_imports():\n"
        "    later = [[] for _ in range(1_000)]\n"
        "looked_through = {id(each) for each in gc.get_objects()}\n"
        "print(first > 0, gc.get_freeze_count() == first)\n"
        "print(id(vars(decimal)) in looked_through, id(later) in looked_through)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "True", "False", "True"]


def test_the_command_line_reads_no_metadata_of_plugins_and_the_library_leaves_them() -> None:
    code = (
        "import importlib.metadata as m, sys\n"
        "calls = []\n"
        "found = m.distributions\n"
        "m.distributions = lambda *a, **k: calls.append(1) or found(*a, **k)\n"
        "exec(sys.argv[1])\n"
        "import aepipe.config.job\n"
        "print(len(calls))\n"
    )

    def calls(first: str) -> int:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYDANTIC")}
        arguments = [sys.executable, "-c", code, first]
        done = subprocess.run(arguments, env=plain, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert calls("import aepipe.cli.main") == 0
    assert calls("import aepipe") > 0

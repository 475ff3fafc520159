"""Choice of Arrow's allocator, which the first import of a process makes: each test runs its own process."""

import os
import subprocess
import sys

import pytest

VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"
BATCHES = "import pyarrow as pa; print(pa.default_memory_pool().backend_name)"
KEEP = "from aepipe.tables.arrow_memory import keep_freed_memory; keep_freed_memory()"

linux = pytest.mark.skipif(sys.platform != "linux", reason="jemalloc is in Arrow's builds for Linux")


def pool(code: str, chosen: str | None = None) -> str:
    """Run code in a process with this choice in its environment; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in {VARIABLE, "JE_ARROW_MALLOC_CONF"}}
    if chosen is not None:
        environment[VARIABLE] = chosen
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@linux
def test_arrow_takes_jemalloc_where_aepipe_is_loaded_first() -> None:
    assert pool(f"import aepipe; {BATCHES}") == "jemalloc"


@linux
def test_what_one_thread_frees_serves_the_next() -> None:
    code = """if True:
        import threading
        import aepipe, pyarrow as pa

        def use():
            buffers = [pa.allocate_buffer(2**20) for _ in range(200)]
            for buffer in buffers:
                memoryview(buffer).cast("B")[:] = bytes(2**20)

        def peak_mb():
            (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
            return int(line.split()[1]) >> 10

        use()
        before = peak_mb()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        print(peak_mb() - before)
    """
    assert int(pool(code)) < 40


@linux
def test_where_arrow_was_loaded_before_batches_alone_come_from_jemalloc() -> None:
    code = f"import pyarrow, aepipe; {KEEP}; {BATCHES}"
    assert pool(code) == "jemalloc"


def test_a_chosen_pool_stays() -> None:
    code = f"import aepipe; {KEEP}; {BATCHES}"
    assert pool(code, "system") == "system"

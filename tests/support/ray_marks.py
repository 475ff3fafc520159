"""Marks of tests that start a cluster of Ray, whose processes and sockets outlive the objects that hold them."""

import pytest

ON_RAY = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

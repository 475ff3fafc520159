"""Collection of doctests: modules that need an extra which is not part of a developer's installation are left out."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pyspark") else ["aepipe/spark/*"]

"""Scores and features of Spark data frames: `aepipe.spark.score(df, "exported/fraud@champion")`."""

from aepipe.versions import named_extras

with named_extras():
    from aepipe.spark.data_frames import encode, score

__all__ = ["encode", "score"]

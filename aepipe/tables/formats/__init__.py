"""Tables whose log names their files: versions, and the Parquet files of each partition in a version."""

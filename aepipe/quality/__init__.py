"""Quality measures of synthetic rows, from arrays to numbers; independent of jobs, bundles and files."""

"""Series of a long table: rows to a grid of steps, steps to windows, scores of windows to scores of points."""

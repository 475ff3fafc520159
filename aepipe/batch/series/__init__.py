"""Scoring of the partitions of a series job: context, points, thresholds by entity, events."""

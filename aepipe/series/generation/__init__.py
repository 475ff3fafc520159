"""Synthetic series: a profile along the calendar, latents that follow each other, and noise."""

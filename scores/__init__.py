"""Scores beyond pixels: landslides as objects, false alarms, sizes of landslides."""

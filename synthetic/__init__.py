"""Synthetic ground: terrain, and patches and scenes of it with landslides."""

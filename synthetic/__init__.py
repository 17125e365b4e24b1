"""Synthetic ground: terrain, and patches of it with landslides."""

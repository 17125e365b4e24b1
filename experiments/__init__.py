"""Experiments: each answers one question by many trainings, and writes the tables of a page."""

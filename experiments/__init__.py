"""Experiments: one question each, answered by many trainings; the tables of the pages come from here."""

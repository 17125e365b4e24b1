"""Patches: how they lie on disk, how they are read, packed and split."""

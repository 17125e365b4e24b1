"""Satellite products as they are downloaded: bands by name, with the meaning of their values."""

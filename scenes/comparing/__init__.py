"""A map compared with an inventory, on the ground."""

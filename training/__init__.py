"""Training: batches, callbacks, optimizer, and learning from other runs."""

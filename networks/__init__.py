"""Networks: what they are built of, how they lie on disk, and how they predict."""

"""Frozen files: how they are written, and how they are checked against the checkpoint."""

"""Checkpoints and frozen files as data: read without running anything in them, described, converted."""

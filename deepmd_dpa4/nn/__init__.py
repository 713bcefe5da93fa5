"""Layers, one concept per file. Node features are stored as (rows, nodes, channels)."""

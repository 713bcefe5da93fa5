"""Instruments that tell whether a potential is sound where there are no data."""

"""Atoms to edges: neighbour search, distances, envelopes, radial bases."""

"""Representation theory of SO(3): index layouts, harmonics, rotation matrices, quadrature."""

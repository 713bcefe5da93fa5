"""Simulation packages that a model runs in; each module needs its package."""

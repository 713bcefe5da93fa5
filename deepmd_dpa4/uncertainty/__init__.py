"""Uncertainties of energies from one model: last-layer prediction rigidity (theory 6.5)."""

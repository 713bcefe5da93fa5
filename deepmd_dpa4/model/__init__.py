"""Atomic energies to the energy of a frame, forces and virial."""

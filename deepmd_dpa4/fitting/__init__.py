"""Features to atomic energies."""

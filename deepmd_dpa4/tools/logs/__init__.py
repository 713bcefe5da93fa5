"""Learning curves for programs that keep and compare experiments."""

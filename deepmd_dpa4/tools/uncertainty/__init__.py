"""Uncertainties of a model from its training data."""

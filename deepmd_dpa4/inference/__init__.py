"""Predictions in Python: :class:`~deepmd_dpa4.Evaluator` and what goes in and comes out."""

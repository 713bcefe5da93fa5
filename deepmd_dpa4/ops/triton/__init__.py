"""Operators for CUDA devices, written in Triton; the only folder that imports it."""

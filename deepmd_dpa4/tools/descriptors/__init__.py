"""Descriptors of whole data sets, and maps of them."""

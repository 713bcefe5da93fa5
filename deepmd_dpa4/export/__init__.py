"""Forms of a model that run without Python."""

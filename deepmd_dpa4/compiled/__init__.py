"""Compiled evaluation of a potential for graphics cards."""

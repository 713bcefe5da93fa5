"""Subcommands of ``dpa4``, one per file; each adds its parser, which knows what to run."""

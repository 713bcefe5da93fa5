"""What surrounds a model: data sets, inputs, plots, and the subcommands of ``dpa4``."""

"""What surrounds a model: data sets, inputs, pictures, and the subcommands of ``dpa4``."""

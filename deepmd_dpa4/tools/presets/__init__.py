"""Published networks and their training, as inputs of DeePMD-kit."""

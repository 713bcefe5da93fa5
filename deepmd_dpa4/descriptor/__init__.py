"""The network: graph and types to invariant features of each atom. Read ``network.py`` first."""

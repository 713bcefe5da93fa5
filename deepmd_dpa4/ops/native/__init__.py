"""Native kernels for CPUs: C++ sources in ``csrc``, compiled on the user's machine."""

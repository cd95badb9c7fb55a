"""What this computer is, and what this process may use of it: CPUs, memory, thread limits of BLAS and OpenMP."""

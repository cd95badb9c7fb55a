"""The entry point of installations made before `numba` became a package; install the distribution again."""

from sparsae_backends.numba import sparsae_backend as sparsae_backend

"""Run the conformance kit of sparsae on the backend."""

from sparsae.testing import BackendConformance


class TestNumexpr(BackendConformance):
    """Every check of the kit, in both dtypes."""

    backend = "numexpr"

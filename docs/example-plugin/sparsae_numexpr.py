"""The backend `numexpr` for sparsae: elementwise formulas in one pass over memory, products by BLAS."""

from contextlib import contextmanager

import sparsae


class NumexprKernel(sparsae.SimpleKernel):
    """Backpropagation with numexpr's own thread pool."""

    def __init__(self, problem):
        super().__init__(problem)
        import numexpr  # not at the top of the module, so that listing backends does not load it

        self.evaluate = numexpr.evaluate

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        """Gradient sums over the m rows given; n inputs, p hidden units."""
        formula = "(a3 - target) * a3 * (1 - a3)" if self.problem.output == "sigmoid" else "a3 - target"
        delta3 = self.evaluate(formula, {"a3": a3, "target": target}, {})  # (m, n)
        arrays = {"product": delta3 @ W2, "sparsity": sparsity, "slope": self.problem.slope(a2)}
        delta2 = self.evaluate("(product + sparsity) * slope", arrays, {})  # (m, p)
        return sparsae.Parameters(
            W1=delta2.T @ a1,  # (p, n)
            b1=delta2.sum(axis=0),  # (p,)
            W2=delta3.T @ a2,  # (n, p)
            b2=delta3.sum(axis=0),  # (n,)
        )


@contextmanager
def limit_threads(n):
    """Hold numexpr's pool at n threads, and restore it."""
    import numexpr

    before = numexpr.set_num_threads(n)
    try:
        yield
    finally:
        numexpr.set_num_threads(before)


@sparsae.hookimpl
def sparsae_backend():
    """Register the backend."""
    return sparsae.Backend(
        "numexpr",
        NumexprKernel,
        summary="elementwise work compiled by numexpr, with its own threads; products by BLAS",
        threading="own",
        limit_threads=limit_threads,
        activations=("sigmoid", "relu", "topk", "jumprelu"),  # `problem.slope` knows them all
        outputs=("sigmoid", "linear"),
        requires=("numexpr",),
        install="pip install numexpr",
    )

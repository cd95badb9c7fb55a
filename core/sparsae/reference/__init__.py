"""The reference: cost and gradient in plain float64, and how far a correct implementation may be from them.

Nothing here is fast, and no code is shared with what is compared with it, the formulas included.
The guard, the conformance kit, the race and the tests compare every backend, bundled or not, with this.

Sources: Ng, *Sparse autoencoder*, CS294A lecture notes, and UFLDL; for the other hidden units see
`sparsae.model.units` and `sparsae.cost`.
"""

from sparsae.reference.comparison import Comparison as Comparison
from sparsae.reference.comparison import compare as compare
from sparsae.reference.evaluation import evaluate_reference as evaluate_reference
from sparsae.reference.kinks import undecided_rows as undecided_rows
from sparsae.reference.result import Reference as Reference
from sparsae.reference.sums import compare_gradient_sums as compare_gradient_sums
from sparsae.reference.sums import gradient_sums as gradient_sums

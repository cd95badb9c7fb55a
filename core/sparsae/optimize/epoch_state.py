"""State of a mini-batch method between two mini-batches."""

from __future__ import annotations

from typing import NamedTuple, final

from sparsae.cost import Terms
from sparsae.optimize.base import Outcome
from sparsae.optimize.objective_functions import Vector
from sparsae.optimize.stochastic import Moments
from sparsae.optimize.unit_state import UnitState


@final
class EpochState(NamedTuple):
    """State of a mini-batch method between two mini-batches.

    Attributes
    ----------
    moments : Moments
    rho_hat : ndarray (n_hidden,)
        Running mean activation.
    iteration : int
        Epochs finished.
    position : int
        Rows of the present epoch that are done.
    epoch_terms : ndarray (3,)
        Terms of the cost in the last finished epoch: means over its mini-batches, each at the parameters of its time.
    term_sums : Terms
        Sums over the rows of the present epoch that are done.
    fired : ndarray (n_hidden,)
        In how many of these rows each unit was active.
    density : ndarray (n_hidden,)
        In what share of the rows of the last finished epoch, each at the parameters of its time.
    gradient_max : float
        Largest absolute component of the gradient of the last mini-batch of the last finished epoch; NaN before.
    units : UnitState
    best_theta : ndarray (size,)
        Changed in place; that of a large model is read-only where it lies in a file, which is changed.
    best_cost : float
        Least held-out cost (cost of an epoch where nothing is held out), and the parameters there.
    best_epoch : int
    outcome : str
    """

    moments: Moments
    rho_hat: Vector
    iteration: int
    position: int
    epoch_terms: Vector
    term_sums: Terms
    fired: Vector
    density: Vector
    gradient_max: float
    units: UnitState
    best_theta: Vector
    best_cost: float
    best_epoch: int
    outcome: Outcome

    @property
    def theta(self) -> Vector:
        """Parameters (size,)."""
        return self.moments.theta

    @property
    def terms(self) -> Terms:
        """Terms of the cost of the last finished epoch."""
        return Terms(*map(float, self.epoch_terms))

    @property
    def cost(self) -> float:
        """Cost of the last finished epoch."""
        return float(self.epoch_terms.sum())

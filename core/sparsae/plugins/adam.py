"""One update of Adam in numbers: what the core hands to a kernel that has a faster loop for it than NumPy's passes."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class AdamStep(NamedTuple):
    """The numbers of one update; each is rounded to the dtype of the parameters before it is used.

    Attributes
    ----------
    scale : float
        What the sums over rows are multiplied by.
    decay : float
        Weight decay.
    beta1, beta2 : float
        Decay of the moments.
    rate, epsilon : float
        Learning rate and what is added to the root of the second moment, both corrected for the moments' start at 0.
    flush_first, flush_second : float
        Added to the moments and subtracted again, so that tiny ones become 0; both 0 where that is not due.
    """

    scale: float
    decay: float
    beta1: float
    beta2: float
    rate: float
    epsilon: float
    flush_first: float = 0.0
    flush_second: float = 0.0

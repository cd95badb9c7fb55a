"""`jax` and `torch`: what their pools obey, given back; what is not finite."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.backends.test_not_finite_units import check as check_not_finite

import sparsae

pytestmark = pytest.mark.peers


def affinities():
    """CPUs that each thread of this process may run on."""
    return {task.name: os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no thread affinity")
def test_jax_is_confined_to_its_cpus_and_every_thread_gets_its_own_back():
    """XLA's threads obey affinity alone; those that were born under the limit are freed too."""
    objective = sparsae.Objective(np.random.default_rng(0).random((500, 16)), 4, backend="jax", threads=1)
    with objective:
        objective(np.zeros(objective.size))
        assert {len(cpus) for cpus in affinities().values()} == {1}
    assert set(map(frozenset, affinities().values())) == {frozenset(os.sched_getaffinity(0))}


def test_torch_gets_its_thread_count_back():
    """Also after an exception."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    objective = sparsae.Objective(np.random.default_rng(0).random((50, 6)), 4, backend="torch", threads=1)

    def fail():
        assert torch.get_num_threads() == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), objective:
        fail()
    assert torch.get_num_threads() == before


def test_precision_of_jax_is_not_changed_for_others():
    """A float64 evaluation leaves JAX's default precision as it was."""
    jax = pytest.importorskip("jax")
    X = np.random.default_rng(0).random((50, 6))
    objective = sparsae.Objective(X, 4, backend="jax")
    objective(np.zeros(objective.size))
    assert jax.numpy.asarray(np.ones(2)).dtype == np.float32


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_what_is_not_finite_reaches_the_cost(name):
    """NaN of either sign and infinity, in any unit of any kind that they declare."""
    pytest.importorskip(name)
    check_not_finite(name, ["sigmoid", "relu", "topk", "topk, all"], "float32")

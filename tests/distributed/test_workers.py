"""Workers are compared with the client before a fit: a table of who lacks what, and other BLAS kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsae.distributed.workers import check_workers, facts_here
from sparsae.errors import ClusterError


class Answers:
    """A connection whose workers say of themselves what the test wants."""

    def __init__(self, **changes):
        self._facts = {f"tcp://{name}": replace(facts_here("numpy"), **change) for name, change in changes.items()}

    def ask(self, function, *arguments):
        return self._facts


def test_workers_like_the_client_take_part():
    """All of them, without a note."""
    facts, notes = check_workers(Answers(a={}, b={}), "numpy", strict=True)
    assert (sorted(facts), notes) == (["tcp://a", "tcp://b"], [])


def test_workers_that_lack_something_are_listed():
    """Each on a line of its own, with what it has and what the client has; the others are not named."""
    answers = Answers(
        old={"numpy": "1.0", "python": "3.9.2"}, bare={"backend": "", "backend_error": "There is no backend."}, fine={}
    )
    with pytest.raises(ClusterError) as caught:
        check_workers(answers, "numpy", strict=False)
    first, *table, last = str(caught.value).splitlines()
    assert first == "2 of 3 workers cannot take part:"
    assert table[0] == "  tcp://bare: There is no backend."
    assert table[1].startswith("  tcp://old: NumPy 1.0 where the client has ")
    assert "Python 3.9 where the client has 3." in table[1]
    assert len(table) == 2
    assert last.startswith("Install there what the client has: sparsae ")


def test_threads_are_noted_where_they_are_fewer_than_asked_for():
    """Those of BLAS are clamped to the CPU budget; row workers are as many as were asked for."""
    clamped, honoured = facts_here("numpy", 1000), facts_here("fused", 1000)
    assert clamped.threads < 1000
    assert "clamped to" in clamped.thread_notes[0]
    assert (honoured.threads, honoured.thread_notes) == (1000, ())


def test_threads_that_a_worker_cannot_have_are_noted():
    """With its name and the reason, which it has found on its own machine."""
    answers = Answers(a={"threads": 1, "thread_notes": ("4 threads were asked for and the CPU budget is 1.",)}, b={})
    notes = check_workers(answers, "numpy", strict=True, threads=4)[1]
    assert notes == ["Worker tcp://a: 4 threads were asked for and the CPU budget is 1."]


def test_other_kernels_are_noted_and_refused_where_bits_are_strict():
    """The last bits then depend on who had which rows."""
    answers = Answers(other={"pools": ({"architecture": "Other"},)}, same={})
    assert "the last bits depend on who had which rows" in check_workers(answers, "numpy", strict=False)[1][0]
    with pytest.raises(ClusterError, match=r'different kernels .*Other.*bits="strict" refuses'):
        check_workers(answers, "numpy", strict=True)

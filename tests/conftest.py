"""What every test may use."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from tests.support import coverage_children

import sparsae
from sparsae.machine import limits

os.environ.setdefault("SPARSAE_BACKEND", "fused")  # nothing is compiled for a test that does not name a backend
INHERITED = dict(os.environ)
PEERS = ("jax", "torch")  # tested by `make test-peers`, in an environment that has them

# on a busy machine an example may take any time
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records which test provokes which message."""
    parser.addoption("--messages", type=Path, help="folder for the records of tests.support.messages")


def pytest_configure(config: pytest.Config) -> None:
    """Record messages where that is asked for; let children write what coverage saw of them."""
    if coverage_children.is_measured():
        coverage_children.let_children_end()
    if (folder := config.getoption("--messages")) is not None:
        config.pluginmanager.register(MessagesPlugin(folder))


class MessagesPlugin:
    """Names the test at hand to the recorder, and writes what it saw."""

    def __init__(self, folder: Path) -> None:
        from tests.support.messages import Recorder

        self._folder, self._recorder = folder.resolve(), Recorder()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A test begins."""
        self._recorder.test = item.nodeid

    def pytest_sessionfinish(self) -> None:
        """All tests of this process have ended."""
        self._recorder.write(self._folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `backend` runs once for each bundled backend that is ready here."""
    if "backend" in metafunc.fixturenames:
        names = [record.name for record in sparsae.list_backends() if record.bundled and record.state == "ready"]
        assert {"dot", "einsum", "loop", "numpy"} <= set(names)
        marks = {name: [pytest.mark.peers] if name in PEERS else [] for name in names}
        metafunc.parametrize("backend", [pytest.param(name, marks=marks[name]) for name in names])


@pytest.fixture(autouse=True)
def thread_variables_are_those_of_the_start() -> None:
    """A nanny of Dask sets them for its children in this process, whenever it starts one."""
    for name in {*os.environ, *INHERITED}:
        if name.endswith("_NUM_THREADS") or name == "PYTHONHASHSEED":
            if name in INHERITED:
                os.environ[name] = INHERITED[name]
            else:
                del os.environ[name]


@pytest.fixture(autouse=True)
def global_state_is_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, thread limits, error modes and worker threads are afterwards what they were before."""
    before = [(pool["library"], pool["num_threads"]) for pool in limits.pools()]
    modes = np.geterr()
    yield
    now = {pool["library"]: pool["num_threads"] for pool in limits.pools()}
    for library, n in before:
        assert now[library] == n, f"{library} was left at {now[library]} threads instead of {n}"
    assert np.geterr() == modes
    alive = [thread.name for thread in threading.enumerate() if thread.name.startswith("sparsae-worker")]
    assert not alive, f"threads outlived the test: {alive}"


@pytest.fixture
def digits() -> np.ndarray:
    """scikit-learn's 1,797 digits of 8x8, scaled to [0.1, 0.9]."""
    from sklearn.datasets import load_digits

    return load_digits().data / 16 * 0.8 + 0.1

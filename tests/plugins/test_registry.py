"""Discovery, with real distributions: folders with metadata and modules on the path of a fresh process."""

from __future__ import annotations

import os
import textwrap

import pytest
from tests.support.distributions import good, install, run, states

TWICE = """
import sparsae
@sparsae.hookimpl
def sparsae_backend(): return sparsae.Backend('twice', print)
@sparsae.hookimpl(specname='sparsae_backend')
def again(): return None
"""
BAD = {
    "raises": ("raise RuntimeError('no luck')", "broken", "RuntimeError when it was imported: no luck"),
    "exits": ("import sys\nsys.exit('bye')", "broken", "SystemExit when it was imported: bye"),
    "panics": ("class Panic(BaseException): pass\nraise Panic('!')", "broken", "Panic when it was imported: !"),
    "wrong_type": (
        "import sparsae\n@sparsae.hookimpl\ndef sparsae_backend(): return 'me'",
        "broken",
        "returned str, not one sparsae.Backend",
    ),
    "two": (
        "import sparsae\n@sparsae.hookimpl\ndef sparsae_backend(): return [sparsae.Backend('two', print)] * 2",
        "broken",
        "returned list, not one sparsae.Backend",
    ),
    "twice": (TWICE, "broken", "2 times instead of once"),
    "signature": (
        "import sparsae\n@sparsae.hookimpl\ndef sparsae_backend(config): return None",
        "broken",
        "its hooks do not fit",
    ),
    "unknown_hook": (
        good("unknown_hook") + "\n@sparsae.hookimpl\ndef sparsae_backed(): pass\n",
        "broken",
        "its hooks do not fit",
    ),
    "hook_raises": (
        "import sparsae\n@sparsae.hookimpl\ndef sparsae_backend(): 1 / 0",
        "broken",
        "ZeroDivisionError in its hook sparsae_backend",
    ),
    "incomplete": (
        good("incomplete").replace("SimpleKernel", "Kernel"),
        "broken",
        "or derive from sparsae.SimpleKernel and define backprop alone. Details: sparsae backends incomplete",
    ),
    "bad_field": (good("bad_field", "outputs='sigmoid'"), "broken", "is broken: outputs must be a tuple of str"),
    "no_hook": ("x = 1", "broken", "it has no hook sparsae_backend"),
    "undecorated": ("def sparsae_backend(): pass", "broken", "lacks the decorator @sparsae.hookimpl"),
    "other_name": (good("someone"), "broken", "called 'other_name' and its Backend 'someone'; they must agree"),
    "not-a-name": (good("mine"), "broken", "'not-a-name' is not an identifier such as 'mine'"),
    "auto": (good("auto"), "broken", "the name 'auto' is reserved"),
    "too_new": (good("too_new", "contract=99"), "incompatible", "for contract 99; this sparsae supports 1 to 1"),
    "too_old": (good("too_old", "contract=0"), "incompatible", "for contract 0; this sparsae supports 1 to 1"),
    "needs": (
        good("needs", "requires=('no_such_library',), install='pip install it'"),
        "not installed",
        "needs no_such_library, not installed here. Install with: pip install it.",
    ),
}


def test_each_bad_plugin_is_one_line_in_the_list_and_disturbs_nobody(tmp_path):
    """Seventeen kinds of broken plugin, each with its state and its reason, around good ones that work."""
    for name, (source, _, _) in BAD.items():
        install(tmp_path, f"dist_{name.replace('-', '_')}", {name: source})
    install(tmp_path, "aaa", {"aaa": good("aaa")})
    install(tmp_path, "zzz", {"zzz": good("zzz")})
    found = states(tmp_path)
    for name, (_, state, words) in BAD.items():
        assert found[name][0] == state, (name, found[name])
        assert words in found[name][1], (name, found[name])
        assert "\n" not in found[name][1]
    assert found["aaa"] == found["zzz"] == ("ready", "")
    assert set(found) == {*BAD, "aaa", "zzz"}


def test_a_bad_plugin_that_is_chosen_raises_one_helpful_error_with_its_cause(tmp_path):
    """Distribution and version, what went wrong, how to do without it; the original traceback is chained."""
    install(tmp_path, "baddist", {"bad": "def deep():\n    raise KeyError('lost')\ndeep()"})
    code = """
    import traceback, sparsae
    for _ in range(2):
        try:
            sparsae.get_backend("bad")
        except sparsae.errors.BackendBrokenError as error:
            print(error)
            print("".join(traceback.format_exception(error.__cause__)))
    """
    said = run(tmp_path, code)
    assert said.count("Backend 'bad' (baddist 1.2, mod_baddist_0) is broken: KeyError when it was imported") == 2
    assert "SPARSAE_DISABLE=bad" in said
    assert said.count("in deep") == 2


def test_choosing_loads_the_chosen_one_alone_and_importing_none(tmp_path):
    """`import sparsae` reads no metadata; get_backend imports one plugin; what it does not import cannot hurt."""
    install(tmp_path, "one", {"one": good("one")})
    install(tmp_path, "bomb", {"bomb": "import os; os._exit(3)"})
    code = """
    import sys, sparsae
    assert "pluggy" not in sys.modules and "importlib.metadata" not in sys.modules
    sparsae.get_backend("one")
    print(sorted(name for name in sys.modules if name.startswith("mod_")))
    try:
        sparsae.get_backend("onne")
    except sparsae.errors.BackendNotFoundError as error:
        print(error)
    """
    said = run(tmp_path, code)
    assert "['mod_one_0']" in said
    assert "No backend named 'onne'; did you mean 'one'? Available: bomb, dot, einsum," in said
    assert "Third-party backends appear once their package is installed." in said


def test_names_in_conflict_are_unusable_and_name_both_distributions(tmp_path):
    """Two distributions, one name: neither is used; the same module twice is tolerated."""
    install(tmp_path, "first", {"mine": good("mine")})
    install(tmp_path, "second", {"mine": good("mine")})
    install(tmp_path / "a", "same", {"same": good("same")})
    install(tmp_path / "b", "same_again", {}, points="same = mod_same_0\n")
    extra = os.pathsep.join(str(tmp_path / name) for name in ("a", "b"))
    code = """
    import sparsae
    print({r.name: r.state for r in sparsae.list_backends() if not r.bundled})
    try:
        sparsae.get_backend("mine")
    except sparsae.errors.BackendConflictError as error:
        print(error)
    """
    said = run(tmp_path, f"import sys; sys.path += {extra.split(os.pathsep)!r}\n" + textwrap.dedent(code))
    assert "{'mine': 'conflict', 'same': 'ready'}" in said
    assert "'mine' is registered by first 1.2, mod_first_0 and by second 1.2, mod_second_0; uninstall one" in said


def test_bundled_names_cannot_be_shadowed(tmp_path):
    """Another distribution that registers `fused` is listed as a conflict, and the bundled one is used."""
    install(tmp_path, "shadow", {"fused": good("fused")})
    code = """
    import sparsae
    print([(r.bundled, r.state) for r in sparsae.list_backends() if r.name == "fused"])
    print(sparsae.get_backend("fused").kernel.__module__)
    """
    said = run(tmp_path, code)
    assert "[(True, 'ready'), (False, 'conflict')]" in said
    assert "sparsae_backends.fused" in said


def test_disabled_backends_are_not_imported(tmp_path):
    """SPARSAE_DISABLE takes names out of use before anything of them runs."""
    install(tmp_path, "bomb", {"bomb": "import os; os._exit(3)"})
    install(tmp_path, "fine", {"fine": good("fine")})
    found = states(tmp_path, SPARSAE_DISABLE="bomb, other")
    assert found["bomb"][0] == "disabled"
    assert "take it off that list" in found["bomb"][1]
    assert found["fine"][0] == "ready"


def test_malformed_metadata_of_one_distribution_hides_no_other(tmp_path):
    """A line without a value in anybody's entry points: those are left out with a warning, the rest is found."""
    install(tmp_path, "mangled", {}, points="this is no entry point\n")
    install(tmp_path, "fine", {"fine": good("fine")})
    code = """
    import warnings, sparsae
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = [r.name for r in sparsae.list_backends()]
    assert {"fine", "fused", "loop"} <= set(names), names
    print(*[w.message for w in caught])
    """
    said = run(tmp_path, code)
    assert not said.strip() or "mangled-1.2.dist-info cannot be read" in said  # some Pythons skip the line themselves


def test_three_hundred_distributions_are_read_and_not_imported(tmp_path):
    """Selection among 300 plugins of others imports none of them."""
    for number in range(300):
        install(tmp_path, f"dummy{number}", {f"dummy{number}": "import os; os._exit(3)"})
    code = """
    import sys, time, sparsae
    assert not [name for name in sys.modules if name.startswith("mod_")]
    begun = time.perf_counter()
    assert sparsae.get_backend().name == "fused"
    print("first selection", time.perf_counter() - begun)
    assert not [name for name in sys.modules if name.startswith("mod_")]
    """
    print(run(tmp_path, code))


def test_a_plugin_may_be_an_object_and_an_observer_may_be_registered(tmp_path):
    """An entry point may lead to an object with hooks; observers have a group of their own, and are found by name."""
    source = good("thing").replace("@sparsae.hookimpl\ndef sparsae_backend():", "def made():")
    source += textwrap.dedent("""
    class Plugin:
        seen = 0
        @sparsae.hookimpl
        def sparsae_backend(self):
            return made()
        @sparsae.hookimpl
        def sparsae_iteration(self, progress):
            Plugin.seen += 1
            return progress.iteration == 2
    plugin = Plugin()
    """)
    points = "thing = mod_things_0:plugin\n\n[sparsae.observers]\nwatch = mod_things_0:plugin\n"
    install(tmp_path, "things", {"thing": source}, points=points)
    code = """
    import numpy as np, sparsae
    X = np.random.default_rng(0).random((50, 4))
    result = sparsae.train(X, 2, backend="thing", observers=["watch"], max_iter=9)
    import mod_things_0
    print(result.receipt.backend, mod_things_0.Plugin.seen, len(result.history.cost), result.status.reason)
    try:
        sparsae.train(X, 2, observers=["wotch"])
    except sparsae.ParameterError as error:
        print(error)
    """
    said = run(tmp_path, code)
    assert said.startswith("thing 3 3 stopped")
    assert "No observer named 'wotch'; registered are: watch." in said


def test_two_threads_may_ask_for_the_same_plugin_at_once(tmp_path):
    """Loading is done once, whoever comes first."""
    install(tmp_path, "slow", {"slow": "import time; time.sleep(0.1)\n" + good("slow")})
    code = """
    import threading, sparsae
    found = []
    threads = [threading.Thread(target=lambda: found.append(sparsae.get_backend("slow"))) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(found) == 4 and len({id(b) for b in found}) == 1
    """
    run(tmp_path, code)


def test_a_wrong_third_party_kernel_fails_before_the_first_evaluation(tmp_path):
    """The guard names the quantity, the error and the command; a right one trains."""
    install(tmp_path, "right", {"right": good("right")})
    install(tmp_path, "wrong", {"wrong": good("wrong").replace("+ sparsity", "")})  # it ignores the sparsity vector
    code = """
    import numpy as np, sparsae
    X = np.random.default_rng(0).random((200, 6))
    assert sparsae.train(X, 3, backend="right", max_iter=3).receipt.distribution == "right"
    try:
        sparsae.train(X, 3, backend="wrong", max_iter=3)
    except sparsae.errors.BackendWrongError as error:
        print(error)
    """
    said = run(tmp_path, code.replace("import numpy", "import warnings; warnings.simplefilter('ignore'); import numpy"))
    assert "Backend 'wrong' is wrong on the first rows of this problem (2 passes): gradient of W1 is" in said
    assert "sparsae check wrong" in said


@pytest.mark.parametrize("change", ["into.squared_error *= 2", "into.hidden += 1", "into.rows += 1"])
def test_the_guard_sees_every_sum(change):
    """Not the gradient alone: rows, squared error and activations too."""
    import numpy as np

    import sparsae
    from sparsae.cost import Cost
    from sparsae.engine.guard import check_kernel

    right = sparsae.get_backend("dot").kernel

    class Wrong(right):
        def accumulate(self, weights, block, a2, sparsity, into):
            super().accumulate(weights, block, a2, sparsity, into)
            exec(change)

    for kernel in (right, Wrong):
        x = np.random.default_rng(0).random((64, 5))
        arguments = (
            sparsae.Backend("wrong", kernel),
            sparsae.Problem(n_visible=5, n_hidden=3, dtype=np.dtype(float)),
            Cost(rho=0.1, beta=1.0, weight_decay=0.0),
            sparsae.Parameters.random(5, 3),
            x,
            x,
        )
        if kernel is right:
            check_kernel(*arguments)
        else:
            with pytest.raises(sparsae.errors.BackendWrongError, match=r"(squared error|mean activation|rows) is"):
                check_kernel(*arguments)

"""A plugin that nobody named disturbs nobody, whatever it does when it is imported; its text reaches nobody raw."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support.distributions import good, install, run

from sparsae.plugins import trial_import
from sparsae.plugins.records import BackendRecord

DISTURBING = {
    "hangs": ("import time; time.sleep(600)", "its import took longer than 4 s"),
    "spins": ("while True: pass", "its import took longer than 4 s"),
    "exits": ("import os; os._exit(0)", "its import ended the process with exit code 0"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "its import ended the process with exit code -11"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt when it was imported"),
    "leaves": ("raise GeneratorExit", "GeneratorExit when it was imported"),
    "hook_interrupts": (
        "import sparsae\n@sparsae.hookimpl\ndef sparsae_backend(): raise KeyboardInterrupt",
        "KeyboardInterrupt in its hook sparsae_backend",
    ),
    "silent_error": (
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute",
        "Mute when it was imported: its text cannot be had",
    ),
}
PRINTS = "import os\nprint('hello')\nos.write(1, b'from C')\nos.write(2, b'loud')\n" + good("prints")


def command(folder, *words, **variables):
    """Run the command in a fresh process that sees the folder's distributions."""
    return subprocess.run(
        [sys.executable, "-c", "import sparsae.cli; sparsae.cli.main()", *words],
        env=os.environ | {"PYTHONPATH": str(folder)} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_plugin_said_before_its_process_ended_is_read(monkeypatch):
    """A busy machine gives the thread that reads its turn late: the record is there all the same."""
    read = trial_import._Trial._read

    def late(self):
        self._process.wait()
        time.sleep(0.5)
        read(self)

    monkeypatch.setattr(trial_import._Trial, "_read", late)
    (found,) = trial_import.try_imports(["numpy"])
    assert isinstance(found[1], BackendRecord)
    assert found[1].state == "ready"


def test_the_list_ends_with_a_state_for_every_plugin_that_disturbs(tmp_path):
    """Hanging, exiting, crashing, interrupting, printing: one record each, and the others are ready."""
    for name, (source, _) in DISTURBING.items():
        install(tmp_path, f"dist_{name}", {name: source})
    install(tmp_path, "dist_prints", {"prints": PRINTS})
    install(tmp_path, "dist_zzz", {"zzz": good("zzz")})
    code = """
    import json, sys
    import sparsae
    from sparsae.plugins import trial_import
    trial_import.IMPORT_LIMIT = 4
    records = {r.name: [r.state, str(r.error or ""), r.summary] for r in sparsae.list_backends() if not r.bundled}
    assert not [name for name in sys.modules if name.startswith("mod_")]
    print(json.dumps(records))
    """
    records = json.loads(run(tmp_path, code))
    for name, (_, words) in DISTURBING.items():
        assert records[name][0] == "broken", records[name]
        assert words in records[name][1], records[name]
        assert f"dist_{name} 1.2" in records[name][1]
    assert records["prints"] == records["zzz"] == ["ready", "", "a good one"]


def test_the_commands_go_on_beside_a_plugin_that_ends_its_process_or_prints(tmp_path):
    """`backends --json` is JSON; `backends` and `bench` of others end with 0."""
    install(tmp_path, "dist_prints", {"prints": PRINTS})
    install(tmp_path, "dist_exits", {"exits": DISTURBING["exits"][0]})
    install(tmp_path, "dist_interrupts", {"interrupts": DISTURBING["interrupts"][0]})
    done = command(tmp_path, "backends", "--json")
    assert done.returncode == 0, done.stderr
    states = {record["name"]: record["state"] for record in json.loads(done.stdout)}
    assert (states["prints"], states["exits"], states["interrupts"]) == ("ready", "broken", "broken")
    assert "loud" not in done.stderr
    done = command(tmp_path, "backends", "interrupts")
    assert done.returncode == 0, done.stderr
    assert "raise KeyboardInterrupt" in done.stdout  # the traceback, from the child


def test_what_is_named_is_loaded_alone(tmp_path):
    """`backends NAME`, `check NAME` and a selection do not wait for a plugin that hangs."""
    install(tmp_path, "dist_hangs", {"hangs": DISTURBING["hangs"][0]})
    install(tmp_path, "dist_fine", {"fine": good("fine")})
    begun = time.monotonic()
    for words in (["backends", "fine"], ["backends", "numpy"], ["check", "fine", "--only", "one_block"]):
        done = command(tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 300  # not 600: the sleep of the plugin


def test_a_named_plugin_that_raises_keyboardinterrupt_is_an_error_of_the_plugin(tmp_path):
    """Told from Ctrl-C by the signal that did not come; the handler is given back."""
    install(tmp_path, "dist", {"interrupts": "raise KeyboardInterrupt"})
    code = """
    import signal, sparsae
    before = signal.getsignal(signal.SIGINT)
    try:
        sparsae.get_backend("interrupts")
    except sparsae.BackendError as error:
        print(error)
    assert signal.getsignal(signal.SIGINT) is before
    """
    assert "is broken: KeyboardInterrupt when it was imported" in run(tmp_path, code)


def test_ctrl_c_of_the_user_during_an_import_is_passed_on(tmp_path):
    """A signal that came is an interrupt, not a broken plugin."""
    install(tmp_path, "dist", {"slow": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)"})
    code = """
    import signal, sparsae
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    try:
        sparsae.get_backend("slow")
    except KeyboardInterrupt:
        print("interrupted")
    assert signal.getsignal(signal.SIGINT) is before
    """
    assert run(tmp_path, code) == "interrupted\n"


def test_ctrl_c_while_listing_ends_the_child(tmp_path):
    """KeyboardInterrupt in the caller; the process that imports is gone."""
    install(
        tmp_path,
        "dist",
        {"hangs": "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)"},
    )
    code = "import sparsae\ntry:\n    sparsae.list_backends()\nexcept KeyboardInterrupt:\n    print('interrupted')"
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    file = tmp_path / "pid"
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=300)[0] == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_what_a_named_plugin_prints_at_import_goes_to_standard_error(tmp_path):
    """Standard output belongs to the command."""
    install(tmp_path, "dist", {"prints": "print('hello')\n" + good("prints")})
    assert run(tmp_path, "import sparsae; sparsae.get_backend('prints'); print('mine')") == "mine\n"


def test_a_kernel_class_that_lacks_methods_is_refused_with_their_names(tmp_path):
    """At registration, with the hint to SimpleKernel."""
    source = """
    import sparsae
    class Half(sparsae.Kernel):
        def encode(self, weights, block): ...
        def accumulate(self, weights, block, hidden, sparsity, into): ...
    @sparsae.hookimpl
    def sparsae_backend():
        return sparsae.Backend("half", Half)
    """
    install(tmp_path, "dist", {"half": source})
    code = """
    import sparsae
    for record in sparsae.list_backends():
        if record.name == "half":
            print(record.state, record.error.reason)
    """
    said = run(tmp_path, code)
    assert said.startswith(
        "broken Half defines encode, accumulate of the methods of sparsae.Kernel and lacks prepare, "
    )
    assert "derive from sparsae.SimpleKernel and define backprop alone" in said


NASTY = "\x1b[2J\x1b]0;owned\x07a\nb [/x] \u202egnp.exe\x9b31m"


def test_text_of_plugins_is_made_printable_where_records_are_made(tmp_path):
    """Summaries, versions and errors with escape sequences, line breaks and bidirectional controls."""
    more = f"install={NASTY!r}, requires=()"
    install(tmp_path, "aaa", {"nasty": good("nasty", more).replace('"a good one"', repr(NASTY))}, version="1.2\x1b[31m")
    install(tmp_path, "bbb", {"raises": f"raise RuntimeError({NASTY!r})"})
    install(tmp_path, "ccc", {}, points="ot\x1b[31mher = mod_ccc\n")
    code = """
    import sparsae
    for record in sparsae.list_backends():
        print(*(ascii(str(value)) for value in vars(record).values()))
    try:
        sparsae.get_backend("raises")
    except sparsae.BackendError as error:
        print(ascii(str(error)))
    try:
        sparsae.get_backend("nobody")
    except sparsae.BackendError as error:
        print(ascii(str(error)))
    """
    said = run(tmp_path, code)
    for escaped in ("\\x1b", "\\x9b", "\\x07", "\\u202e", "\\n"):
        assert escaped not in said, escaped
    nasty = next(line for line in said.splitlines() if line.startswith("'nasty'"))
    assert nasty.count("a b [/x] gnp.exe") == 2  # summary and install
    assert "'other'" in said
    assert "RuntimeError when it was imported: a b [/x]" in said
    for words in (["backends"], ["backends", "raises"], ["backends", "nasty"], ["backends", "--json"]):
        done = command(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(done.stdout), words


def test_where_no_process_can_be_started_plugins_are_imported_in_this_one(tmp_path):
    """As in an embedded Python: the list is the same."""
    install(tmp_path, "dist", {"fine": good("fine")})
    code = """
    import subprocess, sparsae
    def refuse(*args, **kwargs): raise OSError("no processes here")
    subprocess.Popen = refuse
    print([r.state for r in sparsae.list_backends() if r.name == "fine"])
    """
    assert run(tmp_path, code) == "['ready']\n"

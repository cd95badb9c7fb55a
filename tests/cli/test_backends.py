"""`sparsae backends`, `check`, `new-backend` and `--disable`, and a stranger's distribution from wheel to training."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae.plugins.selection import why_default
from sparsae.testing import template as skeleton

ROOT = Path(__file__).parent.parent.parent


def command(*words, folder=None, python=sys.executable, **variables):
    """Run the command in a fresh process."""
    return subprocess.run(
        [str(python), "-c", "import sys, sparsae.cli; sparsae.cli.main(sys.argv[1:])", *map(str, words)],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def plugins(tmp_path):
    """A folder of two distributions: one that is broken, one whose kernel is wrong."""
    folder = tmp_path / "site"
    kernel = (ROOT / "tests/support/mutants.py").read_text()
    sources = {
        "bad": "def deep():\n    raise KeyError('lost')\ndeep()\n",
        "wrong": kernel
        + "\n@sparsae.hookimpl\ndef sparsae_backend(): return Backend('wrong', SignFlipped, threading='workers')\n",
    }
    for name, source in sources.items():
        info = folder / f"dist_{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist_{name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{name} = plugin_{name}\n")
        (folder / f"plugin_{name}.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), "folder": tmp_path}  # the kernel imports from here


def test_the_list_shows_what_cannot_be_used_and_why(plugins):
    """One line each; the one asked for with its original traceback."""
    done = command("backends", **plugins)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("bad "))
    assert "broken" in line
    assert "KeyError when it was imported: 'lost'" in line
    assert done.stdout.splitlines()[-1] == why_default()
    done = command("backends", "bad", **plugins)
    assert "dist_bad" in done.stdout
    assert "in deep" in done.stdout
    assert "KeyError: 'lost'" in done.stdout
    records = json.loads(command("backends", "--json", **plugins).stdout)
    assert {"bad": "broken", "wrong": "ready"}.items() <= {r["name"]: r["state"] for r in records}.items()
    done = command("backends", "bat", **plugins)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: No backend named 'bat'; did you mean 'bad'?")


def test_disabled_on_the_command_line_is_disabled(plugins):
    """--disable, also with what the environment disables."""
    done = command("--disable", "bad", "backends", "--json", SPARSAE_DISABLE="loop", **plugins)
    states = {record["name"]: record["state"] for record in json.loads(done.stdout)}
    assert states["bad"] == states["loop"] == "disabled"
    done = command("--disable", "dot", "train", "digits", "--backend", "dot", **plugins)
    assert done.returncode == 2
    assert "Error: Backend 'dot' is disabled" in done.stderr
    done = command("--disable", "numbaa", "backends", **plugins)  # else numba would run
    assert (done.returncode, done.stdout) == (2, "")
    assert "--disable: there is no backend 'numbaa'; did you mean 'numba'? There are bad, " in done.stderr


def test_check_exits_with_1_when_something_fails_and_writes_its_report(plugins):
    """Verdicts on standard output; the report as JSON; 0 for a right one; 2 for a mistake."""
    done = command("check", "wrong", "--only", "reference", "--quick", "--json", "r.json", **plugins)
    assert done.returncode == 1, done.stderr
    assert "FAIL" in done.stdout
    assert "sparsae check wrong --only reference --dtype float64 --activation sigmoid --quick" in done.stdout
    assert "It does not conform." in done.stdout
    report = json.loads((plugins["folder"] / "r.json").read_text())
    assert (report["passed"], report["distribution"], report["version"]) == (False, "dist_wrong", "1.2")
    assert report["verdicts"][0]["kernel_calls"] > 0
    done = command("check", "numpy", "--only", "reference", "--dtype", "float32", "--json", "-", **plugins)
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"]
    for words in (["check", "nobody"], ["check", "bad"], ["check", "numpy", "--only", "x"]):
        done = command(*words, **plugins)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
    done = command("check", "numpy", "--only", "closed_forms", "--json", "r.json", **plugins)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "r.json exists and would be overwritten; use another name, or --force." in done.stderr
    done = command("check", "numpy", "--only", "closed_forms", "--json", "r.json", "--force", **plugins)
    assert json.loads((plugins["folder"] / "r.json").read_text())["backend"] == "numpy"
    done = command("check", "numpy", "--only", "closed_forms", "--json", "no/such/r.json", **plugins)
    assert done.returncode == 2
    assert "Cannot write no/such/r.json: No such file" in done.stderr


@pytest.mark.parametrize("name", ["Mine", "my-backend", "class", "2nd", "_x", "ü"])
def test_a_new_backend_needs_a_usable_name(name, tmp_path):
    """An identifier in lower case."""
    with pytest.raises(sparsae.ParameterError, match="identifier in lower case"):
        skeleton.write(name, tmp_path / "x")


def test_a_new_backend_overwrites_nothing(tmp_path):
    """What is in the folder stays; a file of the same name, or a link, is refused before anything is written."""
    folder = tmp_path / "sparsae-mine"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    (folder / "test_sparsae_mine.py").symlink_to("nowhere")
    with pytest.raises(
        sparsae.errors.OutputExistsError, match=r"test_sparsae_mine.py exists and would be overwritten; give an"
    ):
        skeleton.write("mine", folder)
    assert len(list(folder.iterdir())) == 2
    (folder / "test_sparsae_mine.py").unlink()
    assert len(skeleton.write("mine", folder)) == 3
    assert (folder / "notes").read_text() == "mine"
    with pytest.raises(sparsae.errors.FileAccessError, match="cannot be made: Not a directory"):
        skeleton.write("mine", folder / "notes" / "below")


def test_the_first_minutes_of_a_new_backend(tmp_path):
    """In a folder that is not empty; what to install is said before it is installed; bundled names are refused."""
    (tmp_path / "data.csv").write_text("1,2")
    done = command("new-backend", "mine", "--dir", ".", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sparsae-mine" / "sparsae_mine.py").is_file()
    assert "  pip install -e sparsae-mine\n" in done.stdout
    assert "  pip install -e 'sparsae-mine[test]' && python -m pytest sparsae-mine\n" in done.stdout  # brings pytest
    done = command("check", "mine", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "It has been written and is not installed yet: pip install -e sparsae-mine" in done.stderr
    done = command("check", "another", folder=tmp_path)
    assert "once its distribution is installed: pip install -e sparsae-another" in done.stderr
    for name in ("numpy", "jax"):
        done = command("new-backend", name, folder=tmp_path)
        assert done.returncode == 2
        assert f"Error: A backend named '{name}' is registered already" in done.stderr
    done = command("new-backend", "auto", folder=tmp_path)
    assert (done.returncode, "'auto' is not a name for a backend" in done.stderr) == (2, True)
    assert {p.name for p in tmp_path.iterdir()} == {"data.csv", "sparsae-mine"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A fresh environment with the wheels of the project, of the example and of a new backend, and nothing editable."""
    folder = tmp_path_factory.mktemp("fresh")
    assert command("new-backend", "mine", folder=folder).returncode == 0
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels]
    sources = [ROOT, ROOT / "docs/example-plugin", folder / "sparsae-mine"]
    subprocess.run([*build, *sources], check=True, cwd=folder)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", *wheels.glob("*.whl")]
    subprocess.run(install, check=True, cwd=folder)
    libraries = next((folder / "env/lib").glob("python*/site-packages"))
    places = {sysconfig.get_path("purelib"), str(Path(np.__file__).parents[1])}  # numpy and the like
    (libraries / "libraries.pth").write_text("\n".join(places) + "\n")
    return python


def test_a_strangers_distribution_from_wheel_to_training(fresh, tmp_path):
    """In a fresh environment and another folder: listed, checked, trained with; its own tests are green."""
    numexpr = importlib.util.find_spec("numexpr") is not None
    assert numexpr, "numexpr is in the dev extra"
    where = subprocess.run(
        [fresh, "-c", "import sparsae; print(sparsae.__file__)"], capture_output=True, text=True, check=True
    )
    assert str(fresh.parent.parent) in where.stdout
    listed = command("backends", "--json", python=fresh, folder=tmp_path)
    records = {record["name"]: record for record in json.loads(listed.stdout)}
    for name in ("numexpr", "mine"):
        assert (records[name]["state"], records[name]["distribution"]) == ("ready", f"sparsae-{name}")
        done = command("check", name, "--quick", "--dtype", "float64", python=fresh, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        done = command("train", "digits", "--backend", name, "--max-iter", 3, "--json", python=fresh, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["receipt"]["distribution"] == f"sparsae-{name}"
        (tmp_path / "model.npz").unlink()
    test = fresh.parent.parent.parent / "sparsae-mine/test_sparsae_mine.py"
    words = ["-m", "pytest", "-q", "-k", "reference or light_discovery", "-p", "no:cacheprovider", test]
    done = subprocess.run([fresh, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout  # reference for five hidden units, light_discovery; in both dtypes

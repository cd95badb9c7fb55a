"""The page of a race, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.support import simulated
from tests.support.simulated import TIMES

from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceSession, split_sessions
from sparsae.bench.report.page import make_page
from sparsae.bench.report.text import HEADINGS, QUICK_NOTE, RATIO_NOTE

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=2000"]


@pytest.fixture(scope="module")
def sessions():
    plan = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["1000x64x25", "4000x64x25"], launches=3, rounds=6)
    return [RaceSession(tuple(simulated.session(TIMES, plan=plan, demand={"einsum": 1.8})))]


class Reader(HTMLParser):
    """Collects tags, addresses and text, and checks that what opens is closed."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_needs_no_network(sessions):
    """Tags are balanced; there is no script and no address but those within the page."""
    reader = Reader()
    reader.feed(make_page(sessions))
    assert reader.open == []
    assert "script" not in reader.tags
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    assert "default-src 'none'" in make_page(sessions)


def test_the_page_says_what_the_race_found(sessions):
    """Standings, reasons, pictures, machine facts, every sample and the limits of the method are on the page."""
    text = make_page(sessions)
    for part in (
        "noise floor",
        "faster",
        "breach",
        "demand 1.80 CPUs, limit 1",
        "OPENBLAS_CORETYPE=Haswell",
        "cannot show",
    ):
        assert part in text
    assert text.count("src='data:image/svg+xml;base64,") == 5  # ratios and shares of two tables, and scaling
    count = sum(event["kind"] == "sample" for event in sessions[0].events)
    assert f"All {count} samples" in text
    assert text.count(", yes\n") + text.count(", yes</pre>") == count


def test_names_cannot_break_the_make_page(sessions):
    """What comes from the machine or a backend is escaped."""
    assert "Imaginary 9000 &lt;script&gt;" in make_page(sessions)
    assert "<script" not in make_page(sessions)


def test_a_race_that_was_interrupted_at_once_has_a_page():
    """A session without a single sample still gives a page."""
    events = simulated.session(TIMES)[:1]
    text = make_page(split_sessions(events))
    assert "The record has no end" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize(("width", "dark"), [(1000, False), (1000, True), (390, False)], ids=["light", "dark", "phone"])
def test_a_browser_shows_it_from_a_file_without_a_complaint(sessions, tmp_path, width, dark):
    """Headless Chromium renders the file in light, dark and phone width, and its console stays empty."""
    from matplotlib.image import imread

    file, picture = tmp_path / "race.html", tmp_path / "race.png"
    file.write_text(make_page(sessions))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={picture}", file.as_uri()]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in told.stderr
    pixels = imread(picture)[..., :3]
    corner = pixels[2, 2].mean()
    assert corner < 0.2 if dark else corner > 0.95
    assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 50  # text and pictures, not a blank page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_phone_scrolls_tables_and_nothing_else(sessions, tmp_path):
    """At 390 points the page itself is no wider than the screen."""
    script = "<script>document.title = document.documentElement.scrollWidth</script>"
    loose = re.sub(r"<meta http-equiv=.*?>", "", make_page(sessions)).replace("</body>", f"{script}</body>")
    frame = tmp_path / "frame.html"
    (tmp_path / "race.html").write_text(loose)
    frame.write_text(
        "<iframe id='f' src='race.html' style='width:390px;height:800px;border:0'></iframe>"
        "<script>f.onload = () => document.title = f.contentDocument.documentElement.scrollWidth</script>"
    )
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files"]
    told = subprocess.run([*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120)
    assert "<title>390</title>" in told.stdout


def test_the_documentation_shows_a_table_of_today():
    """The race that docs/reading.md explains has the first line, the columns and the notes that the command prints."""
    page = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    first, headings = [line for line in shown.splitlines() if line][:2]
    pattern = r"objective 10000x64x25 float64, 1 thread; ratio to numpy, noise floor \d+\.\d%, peak \d+ GFLOP/s"
    assert re.fullmatch(pattern, first)
    assert re.split(r"\s{2,}", headings.strip()) == list(HEADINGS)
    words = " ".join(shown.split())
    assert RATIO_NOTE in words
    assert QUICK_NOTE in words

"""The page of `--report`, looked at in a real browser."""

import json
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from small_nets import INPUT, net  # noqa: E402

BROWSER = next(filter(shutil.which, ("chromium", "google-chrome", "chromium-browser")), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"),
)

# The page's own words on itself take the place of its title, where --dump-dom shows them.
PROBE = """\
<script>
const seen = [...document.querySelectorAll("svg, img")].map((picture) => {
  const box = picture.getBoundingClientRect();
  return [box.width, box.height, picture.querySelectorAll("path").length];
});
const width = [document.documentElement.scrollWidth, window.innerWidth];
document.title = JSON.stringify({text: document.body.innerText, seen, width});
</script></body>"""


@pytest.fixture
def browse(tmp_path):
    """Opens a page: what the browser wrote, what its console said, what the page asked for."""

    def run(path, *flags):
        log = tmp_path / "net.json"
        done = subprocess.run(
            [BROWSER, *FLAGS, *flags, f"--user-data-dir={tmp_path / 'user'}",
             f"--log-net-log={log}", path.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        # The browser asks for things of its own, which have no page as their origin.
        parameters = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
        asked = {
            x["url"] for x in parameters if x.get("initiator", "not an origin") != "not an origin"
        }
        return done.stdout, console, asked

    return run


@pytest.fixture
def report(tmp_path, pathcond):
    """The page on a small network, and what the same command printed."""
    weights, path = tmp_path / "net.pt", tmp_path / "report.html"
    torch.save(net().state_dict(), weights)
    code, text, err = pathcond(
        *("rescale", "small_nets:net", "--input", INPUT, "--checkpoint", weights),
        *("-o", tmp_path / "out.pt", "--report", path),
    )
    assert (code, err) == (0, "")
    return path, text


def probed(path, browse, *flags):
    """What the page says of itself, by a script that it does not allow otherwise."""
    text = path.read_text(encoding="utf-8").replace("</body>", PROBE)
    probe = path.with_name("probe.html")
    probe.write_text(text.replace("style-src", "script-src 'unsafe-inline'; style-src"), "utf-8")
    dom, console, asked = browse(probe, "--dump-dom", *flags)
    title = dom.partition("<title>")[2].partition("</title>")[0]
    return json.loads(unescape(title)), console, asked


@pytest.mark.parametrize("size", ["1100,900", "500,900"])
def test_the_page_shows_all_that_was_printed(report, browse, size):
    path, printed = report
    page, console, asked = probed(path, browse, f"--window-size={size}")
    assert console == []
    assert asked == set()
    [(width, height, paths)] = page["seen"]
    assert width > 400 and height > 300 and paths > 100
    assert page["width"][0] <= page["width"][1]  # nothing to scroll to, left or right
    shown = " ".join(page["text"].split())
    said = " ".join(printed.split("time:")[0].split())
    assert said.partition(" layer ")[0] in shown  # the summary, line by line
    for word in (
        "small_nets:net, rescaled",
        "layer",
        "norm",
        "hidden",
        "factors λ",
        "model output",
    ):
        assert word in shown
    for line in printed.splitlines():
        if line.startswith(("  norm ", "  hidden ")):
            assert " ".join(line.split()) in shown


def test_the_picture_has_ink_and_colours(report, browse, tmp_path):
    shot = tmp_path / "shot.png"
    _, console, asked = browse(report[0], f"--screenshot={shot}", "--window-size=1100,1500")
    assert console == [] and asked == set()
    from matplotlib.image import imread

    pixels = imread(shot)[..., :3]
    white = (pixels > 0.99).all(axis=2).mean()
    coloured = (np.ptp(pixels, axis=2) > 0.3).mean()
    assert 0.5 < white < 0.999 and coloured > 1e-3  # text and coloured bars on white


def test_what_these_tests_would_see(tmp_path, browse):
    """A page that does wrong: else an empty list says nothing."""
    path = tmp_path / "wrong.html"
    body = "<body><img src='http://example.invalid/x.png'><script>null.f()</script></body>"
    path.write_text(f"<!DOCTYPE html><html><head><title>x</title></head>{body}</html>")
    _, console, asked = browse(path, "--dump-dom")
    assert any("TypeError" in line for line in console)
    assert asked == {"http://example.invalid/x.png"}


def test_nothing_gets_into_the_page_by_its_names(tmp_path, browse):
    """Not by a model's name, and a script would not run either."""
    from pathcond_native import rescale_
    from pathcond_native.engine.page import page

    report = rescale_(net(), torch.ones(2, 3, 8, 8))
    evil = "<script>document.title = 'gotcha'</script><img src=http://example.invalid/x.png>"
    path = tmp_path / "evil.html"
    path.write_text(page(report, evil), "utf-8")
    dom, console, asked = browse(path, "--dump-dom")
    assert console == [] and asked == set()
    assert evil in unescape(dom.partition("<title>")[2].partition("</title>")[0])
    path.write_text(page(report, "x").replace("<h1>x", "<h1>x" + evil), "utf-8")
    dom, console, asked = browse(path, "--dump-dom")
    assert asked == set() and "<title>x</title>" in dom
    assert sum("Content Security Policy" in line for line in console) >= 2

"""A real JupyterLab and a real Chromium for the tests: start them, run notebooks, move real pointers, refuse the network.

Import the fixtures where they are used: `from browser_tools import lab, static_page  # noqa: F401`. `lab` is one JupyterLab for all
tests, `static_page(path)` opens a page from disk with the network refused; both drive conftest's `browser`.
`SEMICON_SCREENSHOTS=FOLDER` writes the screenshots that tests take with `Tab.shot(name)`.
"""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest

INSIDE = re.compile(r"^(https?|wss?)://(127\.0\.0\.1|localhost)(:\d+)?(/|$)|^(data|blob|about|file|chrome|devtools):")
HARMLESS = re.compile(r"favicon|WebGL|GPU stall|Canvas2D|DevTools|download-progress|autofocus|aria-hidden")

READY = """async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  const find = () => Array.from(app.shell.widgets('main')).find(w => w.context && w.context.path === path);
  for (let i = 0; i < 200 && !find(); i++) await new Promise(r => setTimeout(r, 100));
  const panel = find();
  if (!panel) throw new Error('no notebook panel for ' + path);
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  window.semiconPanel = panel;
  window.semiconBegun = performance.now();
  app.commands.execute('notebook:run-all-cells');
}"""
PROMPTS = """() => window.semiconPanel.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim())
  .map(c => [c.model.executionCount, c.promptNode ? c.promptNode.textContent : ''])"""
ERRORS = """() => window.semiconPanel.content.widgets.filter(c => c.model.type === 'code').flatMap(c => c.model.outputs.toJSON())
  .filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)"""
EXECUTE = """async (code) => {
  const future = window.semiconPanel.sessionContext.session.kernel.requestExecute({code, store_history: false});
  let text = '', error = null;
  future.onIOPub = m => {
    if (m.header.msg_type === 'stream') text += m.content.text;
    if (m.header.msg_type === 'error') error = m.content.ename + ': ' + m.content.evalue;
  };
  await future.done;
  return [text, error];
}"""
WATCH = """([control, figure]) => {
  window.semiconTimes = []; window.semiconStart = null;
  const first = s => document.querySelector(s);
  const start = () => { window.semiconStart = performance.now(); };
  first(control).addEventListener('keydown', start, true);
  first(control).addEventListener('input', start, true);
  const stop = () => {
    if (window.semiconStart === null) return;
    const from = window.semiconStart; window.semiconStart = null;
    requestAnimationFrame(() => window.semiconTimes.push(performance.now() - from));
  };
  const target = first(figure);
  if (target.on) target.on('plotly_afterplot', stop);
  else target.addEventListener('semicon-redraw', stop);
}"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Tab:
    """One browser tab: the page, and what it did that it should not have (`outside`, `errors`)."""

    def __init__(self, context, offline: bool = False) -> None:
        self.context, self.outside, self.errors = context, [], []
        context.route(lambda url: not INSIDE.match(url), self._refuse)
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("websocket", lambda socket: None if INSIDE.match(socket.url) else self.outside.append(socket.url))
        self.page.on("request", lambda r: self.outside.append(r.url) if offline and r.url.startswith("http") else None)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("console", self._console)

    def _refuse(self, route) -> None:
        self.outside.append(route.request.url)
        route.abort()

    def _console(self, message) -> None:
        if message.type == "error" and not HARMLESS.search(message.text + json.dumps(message.location)):
            self.errors.append(f"console: {message.text} {message.location.get('url', '')}")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> object:
        """Ask `condition` again and again until it is true; fail with `what` and the errors seen so far."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited {seconds} s for {what}; errors so far: {self.errors}")

    def near(self, expression: str, expected: object, what: str, within: float = 1e-6) -> None:
        """Wait until a JavaScript expression (a number or numbers) comes near a value that is known already."""

        def close() -> bool:
            found = np.asarray(self.page.evaluate(expression), dtype=float)
            return found.shape == np.shape(expected) and bool(np.allclose(found, expected, rtol=0, atol=within, equal_nan=True))

        self.wait(close, what)

    def shot(self, name: str, selector: str | None = None) -> None:
        """Write `name`.png to the folder SEMICON_SCREENSHOTS, where that is set."""
        if folder := os.environ.get("SEMICON_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            target = Path(folder) / f"{name}.png"
            if selector:
                self.page.locator(selector).first.screenshot(path=target)
            else:
                self.page.screenshot(path=target, full_page=True)

    def steady(self, element: str) -> dict[str, float]:
        """Scroll an element (a CSS selector) into view and give its box once the page has stopped moving it."""
        target = self.page.locator(element).first
        target.scroll_into_view_if_needed()
        seen: list[dict | None] = [None]

        def still() -> bool:
            self.page.wait_for_timeout(80)
            seen.append(target.bounding_box())
            return seen[-1] is not None and seen[-1] == seen[-2]

        self.wait(still, f"{element} to stand still")
        return seen[-1]

    def pick(self, canvas: str, row: int, column: int, shape: tuple[int, int]) -> None:
        """Click a pixel of a picture of this many rows and columns (a CSS selector)."""
        box = self.steady(canvas)
        self.page.mouse.click(box["x"] + (column + 0.5) / shape[1] * box["width"], box["y"] + (row + 0.5) / shape[0] * box["height"])

    def drag(self, corners: Sequence[tuple[float, float]], steps: int = 6) -> None:
        """Press at the first corner, visit the others, let go at the last (pixels of the window)."""
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for x, y in corners[1:]:
            self.page.mouse.move(x, y, steps=steps)
        self.page.mouse.up()

    def press(self, control: str, key: str, times: int = 1, pause: int = 0) -> None:
        """Focus a control (a CSS selector) and press a key: how a slider is moved without a mouse."""
        self.page.locator(control).first.focus()
        for _ in range(times):
            self.page.keyboard.press(key)
            if pause:
                self.page.wait_for_timeout(pause)

    def slide(self, control: str, fraction: float) -> None:
        """Drag the handle of an ipywidgets slider (or the thumb of a range input) to a fraction of its track."""
        track = self.page.locator(control).first
        track.scroll_into_view_if_needed()
        box = track.bounding_box()
        handle = track.locator(".noUi-handle")
        start = handle.first.bounding_box() if handle.count() else None
        y = box["y"] + box["height"] / 2
        x = start["x"] + start["width"] / 2 if start else box["x"] + box["width"] / 2
        self.drag([(x, y), (box["x"] + 2 + fraction * (box["width"] - 4), y)])

    def latencies(self, control: str, figure: str, keys: Sequence[str], pause: int = 250) -> list[float]:
        """Milliseconds from each key press on a control to the frame after the figure was redrawn, measured in the browser."""
        self.page.evaluate(WATCH, [control, figure])
        for key in keys:
            seen = self.page.evaluate("window.semiconTimes.length")
            self.press(control, key)
            self.wait(lambda n=seen: self.page.evaluate("window.semiconTimes.length") > n, f"a redraw after {key}")
            self.page.wait_for_timeout(pause)
        return self.page.evaluate("window.semiconTimes")

    def swept(self, control: str, times: int) -> list[float]:
        """Milliseconds from each key press on a slider of an exported page, to and fro, to the frame that shows it."""
        name = control.removeprefix("#")
        count, ends = f"(semicon.timings[{name!r}] || []).length", "e => [e.value === e.min, e.value === e.max]"
        before, key = self.page.evaluate(count), "ArrowRight"
        for done in range(before + 1, before + times + 1):
            low, high = self.page.locator(control).evaluate(ends)
            key = "ArrowRight" if low else "ArrowLeft" if high else key
            self.press(control, key)
            self.wait(lambda n=done: self.page.evaluate(count) >= n, f"a redraw after {key}")
        work = self.page.evaluate(f"semicon.handled[{name!r}]")[before:]
        print(f"{name}, the work alone: median {np.median(work):.0f} ms, 95th percentile {np.quantile(work, 0.95):.0f} ms")
        return self.page.evaluate(f"semicon.timings[{name!r}]")[before:]

    def processor(self) -> float:
        """Milliseconds of processor time that the page's main thread has used."""
        if not hasattr(self, "meter"):
            self.meter = self.context.new_cdp_session(self.page)
            self.meter.send("Performance.enable", {"timeDomain": "threadTicks"})
        found = {entry["name"]: entry["value"] for entry in self.meter.send("Performance.getMetrics")["metrics"]}
        return 1000 * found["TaskDuration"]

    def close(self) -> None:
        """Close the tab."""
        self.context.close()


def pca_page(explorer, path: Path) -> Path:
    """The page of an explorer at `path`, with maps that are made in no time."""
    explorer.methods = ("PCA",)
    return explorer.to_html(path)


class LabTab(Tab):
    """A notebook in JupyterLab."""

    def open(self, url: str, name: str, seconds: float = 120) -> "LabTab":
        """Open a notebook, run all of its cells and wait until the last has finished."""
        self.page.goto(url)
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
        self.page.evaluate(READY, name)
        self.wait(self._finished, f"{name} to finish", seconds)
        if failed := self.page.evaluate(ERRORS):
            raise AssertionError(f"{name}: {failed}")
        return self

    def _finished(self) -> bool:
        prompts = self.page.evaluate(PROMPTS)
        return bool(prompts) and all(count is not None and "*" not in prompt for count, prompt in prompts)

    def kernel(self, code: str) -> str:
        """Run code in the notebook's kernel and return what it printed."""
        text, error = self.page.evaluate(EXECUTE, code)
        if error:
            raise AssertionError(f"{code}: {error}")
        return text.strip()

    def value(self, expression: str) -> object:
        """The value of a Python expression in the kernel (through JSON)."""
        return json.loads(self.kernel(f"import json as _json; print(_json.dumps({expression}, default=lambda a: a.tolist()))"))

    def kernel_until(self, expression: str, expected: object = True, seconds: float = 60) -> None:
        """Wait until an expression in the kernel has a value.

        JupyterLab sends what controls do to a thread of its own in the kernel, so that code run here can look on while a callback
        is half done. Expected values are therefore reckoned from what a callback starts from, never read from what it leaves behind.
        """
        self.wait(lambda: self.value(expression) == expected, f"{expression} == {expected!r}", seconds)

    def processor(self) -> float:
        """Milliseconds of processor time that page and kernel have used."""
        return super().processor() + 1000 * self.value("__import__('time').process_time()")

    def kill_kernel(self) -> None:
        """Shut the kernel down while the notebook stays open."""
        self.page.evaluate("() => window.semiconPanel.sessionContext.shutdown()")

    def close(self) -> None:
        """Shut the kernel down and close the tab."""
        if self.page.evaluate("() => Boolean(window.semiconPanel && window.semiconPanel.sessionContext.session)"):
            self.kill_kernel()
        super().close()


class Lab:
    """A JupyterLab of our own on a temporary folder, with private settings and no token, on the loopback only."""

    def __init__(self, browser) -> None:
        self.browser, self.port = browser, free_port()
        self.home = Path(tempfile.mkdtemp(prefix="semicon-lab-"))
        self.folder = self.home / "notebooks"
        self.folder.mkdir()
        self._settings()
        self.log = (self.home / "log.txt").open("w")
        self.process = subprocess.Popen(
            self._command(), env=self._environment(), cwd=self.folder, stdout=self.log, stderr=self.log, start_new_session=True
        )
        self._await()

    def _settings(self) -> None:
        for name, value in {
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"},
            "docmanager-extension/plugin": {"autosave": False},
        }.items():
            target = self.home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(value))

    def _command(self) -> list[str]:
        options = [
            "--no-browser",
            "--expose-app-in-browser",
            f"--port={self.port}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port_retries=0",
        ]
        options += [
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            f"--ServerApp.root_dir={self.folder}",
            "--ServerApp.allow_root=True",
        ]
        options += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]
        return [sys.executable, "-m", "jupyterlab", *options]

    def _environment(self) -> dict[str, str]:
        private = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
        private |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
        root = str(Path(__file__).resolve().parent.parent)
        paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        return {
            **{key: value for key, value in os.environ.items() if key != "PLOTLY_RENDERER"},  # a reader's Lab does not set it
            **{key: str(self.home / value) for key, value in private.items()},
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "JUPYTER_PREFER_ENV_PATH": "1",
        }

    def _await(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=2).read()
                return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise AssertionError(f"JupyterLab did not start: {(self.home / 'log.txt').read_text()[-2000:]}")

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook of code cells into the folder and return its name."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.folder / name)
        return name

    def copy(self, source: str | os.PathLike) -> str:
        """Copy a notebook or another file into the folder and return its name."""
        return Path(shutil.copy(source, self.folder)).name

    def open(self, name: str, seconds: float = 120, dark: bool = False, size: tuple[int, int] = (1280, 900)) -> LabTab:
        """Open and run a notebook of the folder in a tab of its own; close the tab with `.close()`."""
        context = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light")
        tab = LabTab(context)
        try:
            return tab.open(f"http://127.0.0.1:{self.port}/doc/tree/{name}", name, seconds)
        except BaseException:
            tab.shot(f"failed-{Path(name).stem}")
            tab.close()
            raise

    def stop(self) -> None:
        """End the server and its kernels, and remove the folder."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


def used_by_others() -> Callable[[], float]:
    """A function that says how many cores other programs (or a hypervisor) have kept busy since it was made."""

    def spent() -> tuple[float, float, float]:
        everything, mine = psutil.cpu_times(), 0.0
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            with suppress(psutil.Error):
                mine += sum(process.cpu_times()[:2])
        idle = everything.idle + getattr(everything, "iowait", 0.0)
        return time.perf_counter(), sum(everything[: 8 if hasattr(everything, "steal") else None]) - idle, mine

    start = spent()

    def share() -> float:
        clock, busy, mine = (now - then for now, then in zip(spent(), start, strict=True))
        return (busy - mine) / clock

    return share


PACE = """() => {
  const picture = document.body.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'svg')), times = [];
  const dots = Array.from({length: 4096}, () => picture.appendChild(document.createElementNS(picture.namespaceURI, 'circle')));
  for (let round = 0; round < 15; round++) {
    const from = performance.now();
    dots.forEach((dot, k) => { dot.setAttribute('cx', (k * round) % 300); dot.setAttribute('r', 1 + (k + round) % 3); });
    picture.getBBox();
    times.push(performance.now() - from);
  }
  return times.sort((a, b) => a - b)[7];
}"""
USUAL_PACE = 12.0  # ms: on the machine for which the limits below were set


def pace(tab: "Tab") -> float:
    """Milliseconds in which this browser, now, moves 4,096 plain circles on an empty page."""
    page = tab.context.new_page()
    found = page.evaluate(PACE)
    page.close()
    return found


def swift(name: str, tab: "Tab", measured: Callable[[], list[float]], limit: float = 100, rounds: int = 3) -> None:
    """Hold the moves of a slider to a limit (ms): the 95th percentile of the time on the clock, in one of the rounds that no other
    program disturbed; always the processor time of each move, which holds some of the test's own and of Lab's.

    The limit is for a machine on which the browser moves 4,096 plain circles in `USUAL_PACE` ms; on a slower one it is longer in
    proportion, by the better of two measurements before and after the moves, and never more than twice as long.
    """
    slow = []
    for _ in range(rounds):
        before = pace(tab)
        others, used = used_by_others(), tab.processor()
        times = measured()
        used, busy = (tab.processor() - used) / len(times), others()
        peer, most = min(before, pace(tab)), float(np.quantile(times, 0.95))
        allowed = limit * min(2.0, max(1.0, peer / USUAL_PACE))
        print(f"{name}: {used:.0f} ms of processor time a move; median {np.median(times):.0f} ms, 95th percentile {most:.0f} ms"
              f" of {len(times)}; 4,096 plain circles {peer:.1f} ms; others kept {busy:.2f} cores busy")  # fmt: skip
        assert used < 4 * allowed, f"{name}: {used:.0f} ms of processor time for a move, expected below {4 * allowed:.0f}"
        if most < allowed:
            return
        slow += [(round(most), round(allowed))] if busy < 0.2 else []
    assert len(slow) < rounds, f"{name}: 95th percentile and limit in ms, in quiet rounds: {slow}"


@cache
def the_lab(browser) -> Lab:
    """The one JupyterLab of this test session, however many test files import the fixture."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    started = Lab(browser)
    atexit.register(started.stop)
    return started


def open_page(browser, path: str | os.PathLike, dark: bool = False, size: tuple[int, int] = (1280, 900)) -> Tab:
    """Open a page from disk with every request refused and recorded."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True)
    tab = Tab(context, offline=True)
    tab.page.goto(Path(path).resolve().as_uri())
    return tab


@pytest.fixture(scope="session")
def lab(browser) -> Lab:
    """One JupyterLab for all tests (`browser` is conftest's)."""
    return the_lab(browser)


@pytest.fixture
def static_page(browser) -> Iterator[Callable[..., Tab]]:
    """Opens pages from disk, network refused; after the test no request and no error may have been recorded."""
    tabs: list[Tab] = []

    def opened(path: str | os.PathLike, **options) -> Tab:
        tabs.append(open_page(browser, path, **options))
        return tabs[-1]

    yield opened
    wrong = [found for tab in tabs for found in (*tab.outside, *tab.errors)]
    for tab in tabs:
        tab.close()
    assert not wrong, wrong

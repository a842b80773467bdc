"""The site that the fallback builds: links, headings, words for pictures, contrast, keyboard, and silence towards the network."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.xdist_group("site")]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What the checks need of a page: links, anchors, pictures, headings, and what loads from where."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.path, self.links, self.ids, self.headings, self.loads = path, [], [], [], []
        self.wordless, self.raw_tex, self.text, self.open = [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = dict(pairs)
        if tag not in VOID:
            self.open.append(tag)
        if "body" in self.open:  # Quarto gives its own stylesheets the same id
            self.ids += [value for name, value in pairs if name in ("id", "name") and value]
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in ("script", "img", "iframe", "source") and attributes.get("src"):
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("href") and attributes.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(attributes["href"])
        if tag == "img" and attributes.get("alt") is None:
            self.wordless.append(attributes.get("src", "")[:60])
        if tag in ("iframe", "svg") and not (attributes.get("title") or attributes.get("aria-label") or attributes.get("aria-hidden")):
            self.wordless.append(f"<{tag}>")
        if "plotly-figure" in (attributes.get("class") or "") and len(attributes.get("aria-label") or "") < 8:
            self.wordless.append("a plotly figure")
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append([int(tag[1]), ""])

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open and re.fullmatch(r"h[1-6]", self.open[-1]) and self.headings:
            self.headings[-1][1] += data
        if not {"script", "style", "pre", "code", "annotation"} & set(self.open):
            self.raw_tex += re.findall(r"\$\$|\\\(|\\\[|\\frac|\\sum|\\log", data)
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built once; SEMICON_SITE names one that is built already."""
    if ready := os.environ.get("SEMICON_SITE"):
        return Path(ready).resolve()
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, ROOT / "tools" / "build_site.py", "--fallback", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert not warnings, "\n".join(warnings)
    return out


@pytest.fixture(scope="module")
def home(site) -> Iterator[str]:
    """The address of the site: on disk, or over http where Quarto built it, whose scripts do not run from disk."""
    if (site / "site_libs" / "smalldocs.js").is_file():
        yield site.as_uri()
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not report each file."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    """Every page of the site but the explorers and the demo's, which have tests of their own."""
    found = {p.relative_to(site).as_posix(): Page(p) for p in sorted(site.rglob("*.html"))}
    return {name: page for name, page in found.items() if not name.startswith("explorers/")}


def test_every_notebook_has_its_page(site, pages):
    notebooks = [p for p in (ROOT / "nbs").rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(ROOT).parts)]
    assert len(pages) >= len(notebooks) > 0
    assert {"index.html", "reference.html", "contributing.html"} <= pages.keys()


def test_every_internal_link_and_anchor_leads_somewhere(site, pages):
    broken, checked = [], 0
    for name, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, anchor = urldefrag(link)
            path = (page.path.parent / unquote(target)).resolve() if target else page.path
            path = path / "index.html" if path.is_dir() else path
            checked += 1
            if not path.is_file():
                broken.append(f"{name}: {link}")
            elif anchor and path.suffix == ".html":
                known = pages.get(path.relative_to(site).as_posix())
                if known and unquote(anchor) not in known.ids:
                    broken.append(f"{name}: {link} (no such anchor)")
    assert checked > 50
    assert not broken, "\n".join(sorted(set(broken)))


def test_links_into_the_repository_lead_to_files(pages):
    linked = {found[1] for page in pages.values() for link in page.links if (found := re.search(r"/(?:blob|edit)/main/([^#?]+)", link))}
    assert len(linked) > 40
    assert not [path for path in sorted(linked) if not (ROOT / path).is_file()]


def test_addresses_that_the_package_names_are_pages(site):
    sources = [path for path in (ROOT / "semicon_nb").rglob("*") if path.suffix in (".py", ".js", ".html")]
    named = {name for path in sources for name in re.findall(r"github\.io/semicon_nb/(\S+?\.html)", path.read_text(encoding="utf-8"))}
    assert len(named) > 5 and not [name for name in sorted(named) if not (site / name).is_file()]


def test_own_pages_are_linked_by_relative_address(pages):
    home = "https://semicon-nb.github.io/semicon_nb"
    assert not [f"{name}: {link}" for name, page in pages.items() for link in page.links if link.startswith(home)]


def test_nothing_loads_from_elsewhere(site, pages):
    for name, page in pages.items():
        outside = [source for source in page.loads if re.match(r"(https?:)?//", source)]
        assert not outside, f"{name} loads {outside}"
        inside = [page.path.parent / unquote(urldefrag(source)[0]) for source in page.loads if not source.startswith("data:")]
        missing = [path for path in inside if not path.resolve().is_file()]
        assert not missing, f"{name} loads what is not there: {missing}"
    for path in site.rglob("*.css"):
        assert not re.search(r"@import url\(|url\(['\"]?https?:", path.read_text(encoding="utf-8")), path


def test_every_explorer_has_its_page(site):
    from semicon_nb.explore.widgets import Explorer
    from tools.explorers import EXPLORERS

    for path in (ROOT / "semicon_nb" / "explore").glob("[a-z]*.py"):
        importlib.import_module(f"semicon_nb.explore.{path.stem}")
    kinds, known = list(Explorer.__subclasses__()), set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        known |= {kind} if kind.__module__.startswith("semicon_nb") and not kind.__subclasses__() else set()
    assert known == set(EXPLORERS), "tools/explorers.py says how each explorer's page is made"
    for name, _ in EXPLORERS.values():
        text = (site / "explorers" / f"{name}.html").read_text(encoding="utf-8")
        marks = ('class="semicon-scene"', 'id="explorer"', 'id="play"')
        own = any(mark in text for mark in marks)
        assert "http-equiv" in text and own


SHOWN = {
    "course/people": "cohort",
    "course/strategies": "strategies",
    "course/stages": "replay",
    "course/map": "pixels",
    "play/pixels": "pixels",
}


@pytest.mark.parametrize("page, explorer", SHOWN.items())
def test_a_page_shows_its_explorer_and_not_a_note_about_one(site, page, explorer):
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    assert f'src="../explorers/{explorer}.html"' in text and "Alive in Jupyter" not in text


def test_a_page_to_play_with_begins_with_its_toy(site):
    for path in in_order(site):
        text = path.read_text(encoding="utf-8")
        begun = text[text.index("<main") : text.index('class="explorer"')]
        assert "<summary>The code that opens it</summary>" in begun and "Open in Colab" not in begun, path.name


def test_long_exported_code_is_folded_under_its_names(site):
    text = (site / "course" / "stages.html").read_text(encoding="utf-8")
    for name in ("allowed", "train_global", "train_local", "finetune"):
        assert re.search(rf"<details[^>]*>\s*<summary>[^<]*Code of {name}", text), name
    assert "Code of Slices" not in text, "twelve lines stand open"


def test_every_picture_has_words(pages):
    wordless = {name: page.wordless for name, page in pages.items() if page.wordless}
    assert not wordless


def test_a_picture_with_a_caption_has_words_of_its_own():
    from tools.processors import PICTURE, described

    text = 'Look:\n\n![Three "rows".](../images/stages.svg)\n\n![](bare.svg)\n'
    assert PICTURE.sub(described, text) == text.replace("svg)\n\n!", 'svg){fig-alt="Three ”rows”."}\n\n!')


def test_a_number_stays_in_one_line_with_its_interval(pages):
    assert any("\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}" in page.text for page in pages.values())
    assert not [name for name, page in pages.items() if " ± " in page.text]


def test_an_option_in_the_text_keeps_its_dashes():
    from tools.build_site import with_whole_options

    page = "<p><code>run --seed 0 --out-dir x</code></p><pre><code>run --seed 0</code></pre>"
    kept = 'run <span class="option">--seed</span> 0 <span class="option">--out-dir</span> x'
    assert with_whole_options(page) == page.replace("run --seed 0 --out-dir x", kept)


def test_headings_are_in_order(pages):
    for name, page in pages.items():
        levels = [level for level, _ in page.headings]
        assert levels.count(1) == 1, f"{name} has {levels.count(1)} first headings"
        content = levels[levels.index(1) :]
        jumps = [page.headings[levels.index(1) + i + 1] for i, (a, b) in enumerate(zip(content, content[1:], strict=False)) if b > a + 1]
        assert not jumps, f"{name} skips a level before {jumps}"


def test_ids_are_unique(pages):
    for name, page in pages.items():
        twice = sorted({i for i in page.ids if page.ids.count(i) > 1})
        assert not twice, f"{name}: {twice}"


def test_formulas_are_mathml(pages):
    left = {name: page.raw_tex[:5] for name, page in pages.items() if page.raw_tex}
    assert not left, "formulas that stayed TeX"
    assert any("<math" in page.path.read_text(encoding="utf-8") for page in pages.values())


BANNED = {
    "a dollar left of a formula": r"\$",
    "a backslash command": r"\\[A-Za-z]+",
    "a link's Markdown": r"\]\(|\.ipynb\b",
    "another mark of Markdown": r"\*\*|:::|\{=html\}|<details",
    "the number of a page, which the site does not show": r"\b([Pp]age|[Cc]hapter)s? \d|\bNotebooks? \d",
    "a note in place of an explorer": r"Alive in Jupyter",
    "a solution's mark for Colab": r"#@title",
}


def left_in(text: str) -> list[str]:
    """The banned patterns of a page's text, each with the words around it."""
    return [
        f"{what}: …{text[max(0, hit.start() - 30) : hit.end() + 30]!r}…" for what, mark in BANNED.items() for hit in re.finditer(mark, text)
    ]


@pytest.mark.parametrize(
    "text", ["costs $x_i$ each", "so \\Sigma is", "[this](../a", "see page 07", "on pages 3 and 5", "Alive in Jupyter", "**bold"]
)
def test_what_no_page_may_show_is_found(text):
    assert left_in(text)


def test_pages_show_no_marks_that_are_not_for_readers(pages):
    left = {name: found for name, page in pages.items() if (found := left_in(page.text))}
    assert not left, json.dumps(left, indent=1, ensure_ascii=False)
    solutions = [page.path.read_text(encoding="utf-8") for name, page in pages.items() if name.startswith("exercises/")]
    assert solutions and not any("@title" in page for page in solutions), "Colab's mark is for Colab"


def test_starts_of_exercises_stand_open_and_solutions_are_folded(pages):
    text = pages["exercises/contrast.html"].path.read_text(encoding="utf-8")
    assert "<summary>Solution 1</summary>" in text
    outside = re.sub(r"<details.*?</details>", "", text, flags=re.S)
    assert "yours to fill in" in outside and "features.movedim" not in outside


def test_social_card_and_description(site, pages):
    for name, page in pages.items():
        head = page.path.read_text(encoding="utf-8").split("</head>")[0]
        assert '<html lang="en"' in head or 'lang="en"' in head, name
        assert "og:title" in head and "twitter:card" in head, name
        cards = re.findall(r'(?:og|twitter):image" content="([^"]*)"', head)
        assert cards == ["https://semicon-nb.github.io/semicon_nb/images/card.png"] * 2, name
        assert not re.search(r'description" content="[^"]*[*`]', head), f"{name}: Markdown in its description"
    assert 'name="description"' in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "images" / "card.png").is_file()


def test_source_links_point_at_lines_that_define(site, pages):
    lines = {}
    found = 0
    for page in pages.values():
        for link in page.links:
            if m := re.search(r"/blob/main/(semicon_nb/\w+\.py)#L(\d+)$", link):
                source = lines.setdefault(m[1], (ROOT / m[1]).read_text(encoding="utf-8").splitlines())
                near = source[int(m[2]) - 1 : int(m[2]) + 3]
                assert any(re.match(r"\s*(@|def |class |async def |\w+\s*[:=])", line) for line in near), link
                found += 1
    assert found > 20


def test_quarto_marks_only_the_open_page_in_the_bar():
    from tools.build_site import own_bar, with_skip_link

    bar = '<body class="x"><a class="nav-link active" href="../course/start.html" aria-current="page">Course</a>'
    assert own_bar(bar, "course/start.html") == bar
    bare = '<body class="x"><a class="nav-link" href="../course/start.html">Course</a>'
    assert own_bar(bar, "guides/start.html") == bare
    assert own_bar(bare, "course/start.html") == bar
    side = '<a href="../course/start.html" class="sidebar-item-text sidebar-link active">'
    assert own_bar(side, "course/start.html") == side.replace(">", ' aria-current="page">')
    assert with_skip_link(bar).startswith('<body class="x"><a class="skip" href="#quarto-document-content">')


@pytest.mark.parametrize("name", ["index.html", "reference.html", "course/vectors.html", "guides/your_data.html"])
def test_the_open_page_alone_is_marked_as_open(pages, name):
    text = pages[name].path.read_text(encoding="utf-8")
    marked = re.findall(r'<a[^>]*aria-current="page"[^>]*>', text)
    addresses = [found[1] for link in marked if (found := re.search(r'href="([^"#]*)"', link))]
    assert {(pages[name].path.parent / address).resolve() for address in addresses if address} == {pages[name].path.resolve()}


def test_llms_txt_lists_the_pages(site):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# ") and text.count("](") > 10
    order = [
        text.index(f"/{name}.llms.md")
        for name in ("course/start", "course/people", "course/vectors", "course/losses", "course/stages", "explanations/paper")
    ]
    assert order == sorted(order), "the pages stand in the order of the course"
    for name in re.findall(r"semicon_nb/(\S+\.llms\.md)\):", text):
        page = re.sub(r"^(`{3,})[^`]*?\n.*?^\1$", "", (site / name).read_text(encoding="utf-8"), flags=re.M | re.S)
        assert "{=html}" not in page and "{fig-alt" not in page and "<div" not in page and "application/json" not in page, (
            f"{name}: markup where words belong"
        )


# ------------------------------------------------------------------------------------------------ in Chromium

CONTRAST = """() => {
  const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const lum = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const parse = (s) => { const n = s.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n.slice(0, 3), 1] : n; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const grounds = new Map(), opacities = new Map();
  const ground = (el) => {
    if (!el) return [255, 255, 255];
    if (!grounds.has(el)) {
      const c = parse(getComputedStyle(el).backgroundColor);
      grounds.set(el, c[3] === 1 ? c : over(c, ground(el.parentElement)));
    }
    return grounds.get(el);
  };
  const opacity = (el) => {
    if (!el) return 1;
    if (!opacities.has(el)) opacities.set(el, parseFloat(getComputedStyle(el).opacity) * opacity(el.parentElement));
    return opacities.get(el);
  };
  const poor = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), el = walker.currentNode.parentElement;
    if (!text || !el.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
    if (el.closest(".plotly-figure, script, style, .skip, #quarto-back-to-top")) continue;
    const css = getComputedStyle(el), back = ground(el), colour = parse(css.color);
    const fore = over([colour[0], colour[1], colour[2], colour[3] * opacity(el)], back);
    const [a, b] = [lum(fore), lum(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const big = parseFloat(css.fontSize) >= 24 || (parseFloat(css.fontSize) >= 18.66 && css.fontWeight >= 700);
    const name = `${el.tagName.toLowerCase()}.${el.className}`.slice(0, 80);
    if (ratio < (big ? 3 : 4.5)) poor.set(name, `${text.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return Array.from(poor.entries());
}"""


def loading(tab, address: str) -> float:
    """Open a page: seconds until everything in it has loaded."""
    begun = time.perf_counter()
    tab.goto(address, wait_until="load")
    return time.perf_counter() - begun


TOO_WIDE = """async (width) => {
  const page = document.documentElement, end = performance.now() + 3000;
  while (page.scrollWidth > width && performance.now() < end) await new Promise((next) => setTimeout(next, 50));
  return page.scrollWidth - width;
}"""
"""By how many pixels a page is too wide: figures follow the window a moment later."""


EMPTY = """async () => {
  let empty = 0;
  for (const box of document.querySelectorAll(".plotly-figure")) {
    const drawn = () => box.querySelector(".main-svg, canvas"), end = performance.now() + 30000;
    box.scrollIntoView();
    while (!drawn() && performance.now() < end) await new Promise((next) => setTimeout(next, 10));
    empty += !drawn();
  }
  return empty;
}"""
"""How many figures stay empty although a reader scrolls to them."""


@pytest.mark.browser
def test_pages_in_chromium(home, pages, browser):
    """Every page on a phone and on a screen, in the dark and in the light, half of them in the other order: no error, nothing too wide,
    faint or empty, as it loads and after the reader's change of each."""
    context = browser.new_context()
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda m: problems.append(f"{tab.url}: {m.text}") if m.type == "error" else None)
    tab.on("pageerror", lambda e: problems.append(f"{tab.url}: {e}"))
    local = (home, "data:", "blob:")
    tab.on("request", lambda r: problems.append(f"{tab.url} asks for {r.url}") if not r.url.startswith(local) else None)
    ground = "getComputedStyle(document.body).backgroundColor"
    for place, name in enumerate(pages):
        ways = [("dark", 390), ("light", 1440)][:: -1 if place % 2 else 1]
        tab.emulate_media(color_scheme=ways[0][0])
        tab.set_viewport_size({"width": ways[0][1], "height": 900})
        limit = 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # seconds, stretched by as much as the machine is busy
        seconds = next((s for s in (loading(tab, f"{home}/{name}") for _ in range(3)) if s <= limit), None)
        problems += [f"{name}: more than {limit:.0f} s to load, three times"] if seconds is None else []
        tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        tab.add_style_tag(content="* { transition: none !important; }")  # colours as they are in the end
        empty = tab.evaluate(EMPTY)
        problems += [f"{name}: {empty} figures stay empty"] if empty else []
        for scheme, width in ways:
            tab.set_viewport_size({"width": width, "height": 900})
            wide = tab.evaluate(TOO_WIDE, width)
            problems += [f"{name}, {scheme}: {wide} pixels too wide at {width}"] if wide > 0 else []
            problems += [f"{name}, {scheme}: {where} {what}" for where, what in tab.evaluate(CONTRAST)]
            if scheme == ways[0][0]:
                before = tab.evaluate(ground)
                tab.evaluate("document.querySelector('.quarto-color-scheme-toggle').click()")
                tab.wait_for_function(f"({ground}) !== {json.dumps(before)}")
        tab.evaluate("localStorage.clear()")  # the next page loads in the first scheme again
    context.close()
    assert not problems, "\n".join(dict.fromkeys(problems))


@pytest.mark.browser
def test_keyboard_reaches_the_content_and_shows_where_it_is(home, browser):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(f"{home}/index.html")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    seen = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        seen.append(
            tab.evaluate("""() => { const e = document.activeElement, c = getComputedStyle(e);
            const shown = (c) => c.outlineStyle !== 'none' && parseFloat(c.outlineWidth) >= 2, form = e.closest('form');
            const picture = e.querySelector('img[alt]');
            return [e.tagName, (e.textContent || '').trim() || e.getAttribute('aria-label') || e.placeholder || e.title || (picture ? picture.alt : ''),
                    shown(c) || Boolean(form && shown(getComputedStyle(form)))]; }""")
        )
    nameless = [e for e in seen if e[0] in ("A", "BUTTON") and not e[1]]
    assert not nameless
    unseen = [e for e in seen if e[0] != "BODY" and not e[2]]
    assert not unseen, f"focus cannot be seen on {unseen}"
    tab.close()


def seek(tab, words: str) -> None:
    """Open the search as a reader does, and type: Quarto's box has the focus a moment after the key."""
    tab.keyboard.press("/")
    tab.wait_for_function("document.activeElement.matches('input')")
    tab.keyboard.type(words, delay=5)


FOUND = ".smalldocs-search-results a, a.search-result-link"
"""What the search lists, in the fallback and in Quarto."""


@pytest.mark.browser
def test_search_finds_without_a_server(home, browser):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(f"{home}/index.html")
    seek(tab, "supervised_local_contrastive_loss")
    tab.wait_for_selector(FOUND, timeout=60_000)
    address = tab.locator(FOUND).first.get_attribute("href")
    tab.locator(FOUND).first.click()
    name = re.split("[?#]", address)[0].split("/")[-1]  # Quarto takes the words sought out of the address again
    tab.wait_for_url(re.compile(rf"/{re.escape(name)}([?#]|$)"))
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_search_lists_can_be_read(home, browser, scheme):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(f"{home}/course/losses.html")
    seek(tab, "temperature")
    tab.locator(f"{FOUND} >> nth=0").wait_for(timeout=60_000)
    tab.wait_for_timeout(300)
    assert not tab.evaluate(CONTRAST)
    context.close()


SOUGHT = {
    "install": "guides/install", "windows": "guides/install", "conda": "guides/install", "own data": "guides/your_data",
    "playground": "play/playground", "pixel explorer": "play/pixels", "strategies": "play/strategies", "temperature": "play/temperature",
    "cohort": "play/cohort", "replay": "play/replay", "results explorer": "play/results", "glossary": "explanations/words",
    "medical device": "explanations/trust",
}  # fmt: skip
"""What a reader may look for, and the page that must be among the first results."""


@pytest.mark.browser
@pytest.mark.parametrize("words", SOUGHT)
def test_search_finds_what_readers_look_for(words, home, browser):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(f"{home}/index.html")
    seek(tab, words)
    tab.locator(f"{FOUND} >> nth=0").wait_for(timeout=60_000)
    tab.wait_for_timeout(300)
    found = tab.locator(FOUND).evaluate_all("links => links.map(link => link.href.split(/[?#]/)[0])")[:10]
    assert any(address.endswith(f"/{SOUGHT[words]}.html") for address in found), found
    tab.close()


@pytest.mark.parametrize("name", ["course/losses.html", "explanations/words.html", "guides/install.html"])
def test_sidebar_opens_the_section_of_the_page_and_no_other(pages, name):
    text = pages[name].path.read_text(encoding="utf-8")
    sections = re.findall(r'<ul[^>]*class="(collapse [^"]*sidebar-section depth1[^"]*)"[^>]*>(.*?)</ul>', text, re.S)
    opened = [held for classes, held in sections if "show" in classes.split()]
    assert len(sections) >= 5 and len(opened) == 1, f"{len(opened)} of {len(sections)} sections are open"
    assert "sidebar-link active" in opened[0], "the open section does not hold the open page"


@pytest.mark.browser
def test_explorers_follow_the_pages_colours(home, browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    tab = context.new_page()
    tab.goto(f"{home}/play/cohort.html")
    tab.locator("iframe.explorer").scroll_into_view_if_needed()
    inside = tab.frame_locator("iframe.explorer")
    for wanted in ("light", "dark", "light"):
        inside.locator(f"html[data-theme={wanted}]").wait_for(timeout=60_000)
        ground = inside.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (wanted == "dark")
        tab.evaluate("document.querySelector('.quarto-color-scheme-toggle').click()")
    assert inside.locator("#theme").is_hidden(), "one button for light and dark is enough"
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1024, 1440, 1920])
def test_text_beside_an_explorer_is_as_wide_as_elsewhere(home, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    box = "(s) => { const box = document.querySelector(s).getBoundingClientRect(); return [box.left, box.right]; }"
    found = []
    for name in ("course/losses", "play/pixels"):
        tab.goto(f"{home}/{name}.html")
        (left, right), (_, side) = tab.evaluate(box, "main section p"), tab.evaluate(box, "#quarto-sidebar")
        assert left >= side, f"{name}: the text lies under the sidebar"
        found.append(right - left)
    assert abs(found[0] - found[1]) < 0.05 * found[0], found
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("page", ["course/map", "course/stages", "play/playground", "play/strategies"])
def test_frames_of_explorers_fit_what_they_hold(home, browser, page, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(f"{home}/{page}.html")
    frame = tab.locator("iframe.explorer")
    frame.scroll_into_view_if_needed()
    inside = tab.frame_locator("iframe.explorer").locator("html")
    inside.locator("canvas, svg").first.wait_for(timeout=60_000)
    tab.wait_for_timeout(1000)
    held, shown = inside.evaluate("e => [Math.ceil(e.getBoundingClientRect().height), innerHeight]")
    assert 0 <= shown - held <= 4, f"{held} pixels in a frame of {shown}"
    tab.close()


def in_order(site: Path) -> list[Path]:
    """The pages of Play as their notebooks are numbered."""
    return [site / "play" / f"{page.stem.partition('_')[2]}.html" for page in sorted((ROOT / "nbs" / "play").glob("*.ipynb"))]


@pytest.mark.browser
def test_play_begins_the_bar_and_lists_its_pages(site, home, browser):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(f"{home}/course/losses.html")
    tab.locator("#quarto-header .navbar-nav a").first.press("Enter")
    tab.locator("#quarto-header .dropdown-menu.show").wait_for()
    listed = tab.locator("#quarto-header .dropdown-menu.show a")
    pages = in_order(site)
    addresses = listed.evaluate_all("links => links.map(link => link.href)")
    assert addresses == [f"{home}/play/{page.stem}.html" for page in pages]
    listed.nth(2).click()
    tab.wait_for_url(f"**/play/{pages[2].stem}.html")
    tab.close()


@pytest.mark.browser
def test_the_change_to_the_dark_moves_nothing(home, browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    tab = context.new_page()
    tab.goto(f"{home}/course/losses.html")
    places = """() => ['#quarto-header', 'main h1', 'main h2', 'main h3', 'main p code'].map((s) => {
        const e = document.querySelector(s), box = e.getBoundingClientRect(); return [s, box.top, box.height, getComputedStyle(e).opacity]; })"""
    grounds = "[document.body, document.querySelector('main p code')].map((e) => getComputedStyle(e).backgroundColor)"
    before, day = tab.evaluate(places), tab.evaluate(grounds)
    tab.click(".quarto-color-scheme-toggle")
    tab.wait_for_function(f"{grounds}.every((colour, i) => colour !== {json.dumps(day)}[i])")
    assert tab.evaluate(places) == before and all(opacity == "1" for *_, opacity in before)
    context.close()


@pytest.mark.browser
def test_dark_mode_is_remembered(home, browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    tab = context.new_page()
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.goto(f"{home}/index.html")
    day = tab.evaluate(ground)
    tab.click(".quarto-color-scheme-toggle")
    tab.wait_for_function(f"({ground}) !== {json.dumps(day)}")
    night = tab.evaluate(ground)
    tab.goto(f"{home}/reference.html")
    tab.wait_for_function(f"({ground}) === {json.dumps(night)}", timeout=60_000)
    context.close()


@pytest.mark.browser
def test_home_shows_doors_and_film_at_once_and_letters_that_a_telephone_can_show(home, browser):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(f"{home}/index.html")
    bottoms = {name: tab.locator(name).bounding_box() for name in (".doors", 'img[src$="learning.webp"]')}
    assert all(box["y"] + box["height"] <= 900 for box in bottoms.values()), bottoms
    tab.set_viewport_size({"width": 390, "height": 844})
    shown = tab.locator('img[src$="finding.svg"]').bounding_box()["width"]
    figure = (ROOT / "nbs" / "images" / "finding.svg").read_text(encoding="utf-8")
    smallest = min(float(size) for size in re.findall(r'font-size="([\d.]+)"', figure))
    assert smallest * shown / float(re.search(r'viewBox="0 0 (\d+)', figure)[1]) >= 12
    tab.close()

"""Build the site into _docs: with Quarto where it is on the PATH, else with smalldocs, from the same pages and the same _quarto.yml.

python tools/build_site.py [--fallback] [--out FOLDER]
"""

import argparse
import html
import os
import posixpath
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

from latex2mathml.converter import convert  # noqa: E402
from nbdev.config import get_config  # noqa: E402
from nbdev.quarto import refresh_quarto_yml  # noqa: E402
from nbdev.serve import proc_nbs  # noqa: E402
from plotly.offline import get_plotlyjs  # noqa: E402
from smalldocs.config import Project, load  # noqa: E402
from smalldocs.site import Page, Site  # noqa: E402

from tools.explorers import build_explorers  # noqa: E402
from tools.navigation import chapters  # noqa: E402

TAKEN_CARE_OF = (
    "output-file", "html-math-method", "highlight-style", "theme.scss", "format-links", "respect-user-color-scheme",
    "open-graph.image", "language",
)  # fmt: skip
"""What smalldocs says it does not read, and this file does, or only Quarto needs."""


class Fallback(Site):
    """smalldocs, with nbdev's names for pages: 00h_data.ipynb becomes data.html."""

    def __init__(self, project: Project, out: Path):
        super().__init__(project, quiet=True)
        self.out, self.pictures = out, []

    def llms_on(self) -> bool:
        """Copies of the pages for language models are always written; Quarto's own look for the sources' names."""
        return True

    def read(self, src: PurePosixPath) -> Page:
        """Read a page; its front matter may name the file it becomes."""
        page = super().read(src)
        if name := page.front.get("output-file"):
            page.out = page.out.with_name(str(name))
        return page

    def find_page(self, target: PurePosixPath) -> Page | None:
        """Find a page by its source, or by the file that it becomes."""
        return super().find_page(target) or next((page for page in self.pages.values() if page.out == target), None)

    def llms_copy(self, page: Page) -> tuple[str, dict[str, bytes]]:
        """A page for language models: figures in words, tables in Markdown, no markup of ours."""
        text, files = super().llms_copy(page)
        self.pictures += [page.out.parent / name for name in files]
        return in_words(text), files

    def write_llms_txt(self) -> None:
        """llms.txt: every page in the order of the course, with its one line."""
        web = self.project.website
        lines = [f"# {web['title']}", "", f"> {web['description']}"]
        for section, sources in {"Home": ["index.ipynb"], **chapters(), "Look up": ["reference.qmd", "contributing.qmd"]}.items():
            lines += ["", f"## {section}", ""]
            for page in filter(None, (self.find_page(PurePosixPath(source)) for source in sources)):
                address = f"{web['site-url'].rstrip('/')}/{page.out.with_suffix('.llms.md')}"
                lines.append(f"- [{page.title}]({address}): {page.meta.get('description') or page.title}")
        (self.out / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def in_words(markdown: str) -> str:
    """Markdown without raw HTML: a table as rows, a figure or an explorer by its label."""

    def words(block: re.Match) -> str:
        if "<table" in block[2]:
            rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", block[2], re.S)]
            lines = ["| " + " | ".join(html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row) + " |" for row in rows]
            return "\n".join([lines[0], re.sub(r"[^|]+", "---", lines[0]), *lines[1:]]) + "\n" if lines else ""
        label = re.search(r'(?:aria-label|title)="([^"]*)"', block[2])
        return f"*Figure: {html.unescape(label[1])}*\n" if label else html.unescape(re.sub(r"<[^>]+>", "", block[2])).strip() + "\n"

    text = re.sub(r"^(`{3,})\{=html\}\n(.*?)^\1$\n?", words, markdown.replace("\N{NO-BREAK SPACE}", " "), flags=re.M | re.S)
    return re.sub(r'\{\.run-me\}|\{fig-alt="[^"]*"\}|^<div class="(?:wide|doors)"[^>]*>\n+|^</div>$\n?', "", text, flags=re.M)


def stage() -> Path:
    """Run nbdev's document processors over the changed pages, into _proc."""
    config = get_config(ROOT)
    refresh_quarto_yml()
    staged = ROOT / "_proc"
    sources = [ROOT / "pyproject.toml", *(ROOT / "tools").glob("*.py"), *(ROOT / "semicon_nb").rglob("*.py")]
    newest = max(path.stat().st_mtime for path in sources)
    proc_nbs(str(config.nbs_path), n_workers=0, force=staged.exists() and staged.stat().st_mtime < newest)
    return staged


def fallback(out: Path) -> Fallback:
    """Build with smalldocs, then make the site whole: formulas as MathML, figures, search without a server."""
    site = Fallback(load(stage()), out)
    site.build()
    for path in pages_of(out):
        path.write_text(finished(path.read_text(encoding="utf-8"), path.relative_to(out).as_posix()), encoding="utf-8")
    for path in out.rglob("*.css"):
        path.write_text(re.sub(r"@import url\([^)]*\);", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    from_disk(out)
    return site


def quarto(out: Path) -> list[str]:
    """Build with Quarto; add the copies for language models, and what its pages lack. Its warnings come back."""
    staged = stage()
    command = ["quarto", "render", "--no-cache", "--output-dir", staged / "_docs"]
    done = subprocess.run(command, cwd=staged, capture_output=True, text=True)  # nbdev's own call would swallow the warnings
    if done.returncode:
        raise RuntimeError(f"quarto render: {(done.stderr or done.stdout)[-4000:]}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(staged / "_docs", out)
    for path in pages_of(out):
        page = with_skip_link(with_its_script(with_whole_options(path.read_text(encoding="utf-8"))))
        path.write_text(own_bar(page, path.relative_to(out).as_posix()), encoding="utf-8")
    with TemporaryDirectory() as folder:
        site = fallback(Path(folder))
        for name in ["llms.txt", *(page.out.with_suffix(".llms.md") for page in site.pages.values()), *site.pictures]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder) / name, out / name)
    return re.findall(r"^(?:\x1b\[\d+m)*\[?WARN(?:ING)?\]?:? *(.*)", done.stderr, re.M)


def pages_of(out: Path) -> list[Path]:
    """The pages of a site but the explorers and the demo's, which are whole as they are."""
    return [path for path in sorted(out.rglob("*.html")) if path.relative_to(out).parts[0] != "explorers"]


def with_skip_link(page: str) -> str:
    """A page whose first link leads to its content."""
    return re.sub(r"(<body[^>]*>)", r'\1<a class="skip" href="#quarto-document-content">Skip to the content</a>', page, count=1)


def with_its_script(page: str) -> str:
    """A page whose links to its source lead to the script that writes it, where the repository holds that alone."""
    return re.sub(r'(href="[^"]*/(?:blob|edit)/[^"]*\.qmd)"', r'\1.py"', page)


def with_whole_options(page: str) -> str:
    """A page whose commands in the text keep an option's dashes and its name in one line."""

    def kept(found: re.Match) -> str:
        return re.sub(r"--[\w-]+", r'<span class="option">\g<0></span>', found[0]) if found[1] else found[0]

    return re.sub(r"<pre.*?</pre>|<script.*?</script>|<code>([^<]*)</code>", kept, page, flags=re.S)


def own_bar(page: str, name: str) -> str:
    """A page of Quarto whose bar and sidebar mark the open page, and nothing else: Quarto marks one link of the bar, everywhere."""
    home = PurePosixPath(name).parent

    def mark(link: re.Match) -> str:
        plain = link[0].replace(' aria-current="page"', "").replace("nav-link active", "nav-link")
        address = re.search(r'href="([^"#]+)"', plain)
        if not address or posixpath.normpath(home / address[1]) != name:
            return plain
        return plain.replace("nav-link", "nav-link active", 1).replace(">", ' aria-current="page">')

    page = re.sub(r'(<a [^>]*class="[^"]*sidebar-link active")>', r'\1 aria-current="page">', page)
    return re.sub(r'<a class="nav-link(?: active)?" [^>]*>', mark, page)


def finished(page: str, name: str) -> str:
    """One page without anything from elsewhere, and with the landmarks and labels that a keyboard needs."""
    page = re.sub(r"<(link|script)\b[^>]*cdn\.jsdelivr\.net/npm/katex[^>]*>(</script>)?", "", page)
    tex = r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>'
    page = re.sub(tex, lambda found: formula(found[2], found[1], name), page, flags=re.S)
    page = re.sub(r'(<meta [^>]*description" content=")([^"]*)', lambda found: found[1] + re.sub("[*`]", "", found[2]), page)
    page = with_skip_link(with_its_script(with_whole_options(page)))
    page = page.replace('<i role="img" class="bi', '<i aria-hidden="true" class="bi').replace('role="img"></i>', 'aria-hidden="true"></i>')
    toggle = 'class="quarto-color-scheme-toggle nav-link"'
    page = page.replace(toggle, f'{toggle} aria-label="Toggle dark mode"')
    return re.sub(r"<pre(?![^>]*tabindex)([^>]*)>", r'<pre tabindex="0"\1>', page)


def formula(tex: str, kind: str, page: str) -> str:
    """TeX as MathML."""
    tex = html.unescape(tex).strip()
    try:
        return convert(tex, display="block" if kind == "display" else "inline")
    except Exception as problem:
        raise ValueError(f"{page}: the formula {tex!r} cannot be turned into MathML ({problem})") from problem


def from_disk(out: Path) -> None:
    """Let smalldocs.js work on pages opened from disk, where search.json cannot be fetched, and with our own dark background."""
    index = (out / "search.json").read_text(encoding="utf-8")
    (out / "search.js").write_text(f"window.searchIndex = {index};\n", encoding="utf-8")
    script = out / "site_libs" / "smalldocs.js"
    source = script.read_text(encoding="utf-8")
    for old, new in SCRIPT_CHANGES.items():
        if source.count(old) != 1:
            raise RuntimeError(f"smalldocs.js no longer holds {old!r} once, as tools/build_site.py expects: look at both")
        source = source.replace(old, new)
    script.write_text(source, encoding="utf-8")


SCRIPT_CHANGES = {
    'const r = await fetch(offset + "search.json");\n      index = await r.json();': (
        "await new Promise((done, failed) => { const s = document.createElement('script');"
        " s.src = offset + 'search.js'; s.onload = done; s.onerror = failed; document.head.append(s); });"
        " index = window.searchIndex;"
    ),
    "const dark = 0.299 * r + 0.587 * g + 0.114 * b < 128;": 'const dark = document.documentElement.dataset.scheme === "alternate";',
}


def libraries(out: Path) -> None:
    """Put plotly, and the scripts that draw figures and tell explorers their colours, where the pages expect them."""
    folder = out / "site_libs" / "plotly"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for name in ("figures.js", "embedded.js"):
        shutil.copy(ROOT / "tools" / name, folder / name)


def main() -> int:
    """Build, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fallback", action="store_true", help="without Quarto, even where there is one")
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", help="the folder to write")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    os.chdir(ROOT)
    out = chosen.out.resolve()
    build_explorers(ROOT / "nbs" / "explorers")
    if shutil.which("quarto") and not chosen.fallback:
        tool, warnings = "Quarto", quarto(out)
        look = f"python -m http.server -d {out}, then http://localhost:8000"  # its scripts do not run from disk
    else:
        look = f"open {out / 'index.html'}"
        tool, warnings = "the fallback", [w for w in fallback(out).warnings if not any(known in w for known in TAKEN_CARE_OF)]
    libraries(out)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    pages = len(list(out.rglob("*.html")))
    print(f"{pages} pages built with {tool} in {time.perf_counter() - begun:.0f} s: {look}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What nbdev's document processors leave to us: figures, widgets and links that need nothing from outside the site.

Named by `doc_procs` in pyproject.toml, so Quarto and tools/build_site.py both get pages treated this way.
"""

import ast
import html
import json
import re
from functools import cache
from pathlib import Path

from nbdev.config import get_config
from nbdev.process import Processor

from tools.explorers import HEIGHTS, page_of

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
RUN_ME = re.compile(r"^\[Open in Colab\]\(\S+\)$", re.M)
"""The line below a page's title that says where the page can be run."""
COLAB = re.compile(r"^#@title .*\n", re.M)
"""The line by which Colab folds a cell; the site folds it by its `code-fold`."""
TABLE = re.compile(r"(?:^\|.*\|[ ]*$\n?)+", re.M)
"""A table of a prose cell."""
PICTURE = re.compile(r"^!\[([^\]]+)\]\(\S+\)$", re.M)
"""A picture of a prose cell, alone in its line: its words become a caption, and Quarto then leaves the picture without any."""
NAMED = re.compile(r"\[(`[^`\]]+`)\]\([^)#\s]+\.html(?:\.md)?#([\w.]+)\)")
"""A link that nbdev makes of a name in backticks."""
SCROLLED = '::: {.wide tabindex="0" role="region" aria-label="Table"}\n\\g<0>\n:::\n'
LONG = 12
"""Lines of exported code that stand open; more are folded."""
LIVE = """::: {.callout-note .live title="Alive in Jupyter"}
This cell shows an explorer that answers to your mouse. Run the page in JupyterLab (`make lab`) to use it.
:::"""


def joined(text: str | list[str]) -> str:
    """A notebook stores text as one string or as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def raw(markup: str) -> str:
    """HTML as a Markdown block that a renderer passes on untouched."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", markup)), default=0))
    return f"\n{fence}{{=html}}\n{markup}\n{fence}\n"


def plain(markdown: str, limit: int = 240) -> str:
    """The last sentence or two of a prose cell, without Markdown's marks: what a picture below it shows."""
    lines = [line for line in markdown.splitlines() if line.strip() and not re.match(r"\s*(#|:::|\||```|<|\$\$|!\[|\[Open in)", line)]
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(lines))
    text = re.sub(r"\$[^$]*\$", "…", re.sub(r"[*_`>]", "", text))
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    sentences = re.split(r"(?<=[.:?!]) ", text)
    kept = sentences.pop()
    while sentences and len(kept) + len(sentences[-1]) < limit:
        kept = f"{sentences.pop()} {kept}"
    return kept[:limit]


def described(picture: re.Match) -> str:
    """A picture whose caption is its alternative text as well."""
    return f'{picture[0]}{{fig-alt="{picture[1].replace(chr(34), "”")}"}}'


def words_for(figure: dict, near: str) -> str:
    """A plotly figure in words: its title or the prose above it, its axes, and what it draws."""
    layout = figure.get("layout") or {}

    def text(part: dict | None) -> str:
        title = (part or {}).get("title")
        return title.get("text") or "" if isinstance(title, dict) else title or ""

    axes = [text(layout.get(axis)) for axis in ("xaxis", "yaxis")]
    names = [str(trace["name"]) for trace in figure.get("data", []) if trace.get("name")]
    parts = [text(layout) or near or "Figure"]
    if all(axes):
        parts.append(f"{axes[1]} against {axes[0]}")
    if names:
        parts.append("shown: " + ", ".join(dict.fromkeys(names)))
    return re.sub(r"<[^>]+>", " ", "; ".join(part.rstrip(".:") for part in parts))


def written_words(source: str) -> str:
    """What a cell's `#| fig-alt:` says its picture shows."""
    found = re.search(r"^#\|\s*fig-alt:\s*(.+)$", source, re.M)
    return found[1].strip("\"' ") if found else ""


class Heading:
    """What `show_doc` shows: a name as a heading; the exported cell itself follows, so nothing is said twice."""

    def __init__(self, sym: object, name: str | None = None, title_level: int = 3):
        self.name = name or getattr(sym, "__qualname__", str(sym))

    def _repr_markdown_(self) -> str:
        return f"### {self.name}"


@cache
def defined(module: str) -> dict[str, int]:
    """The line of every function and class at the top of a module."""
    body = ast.parse((get_config().lib_path / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")).body
    return {node.name: node.lineno for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def source_of(module: str, name: str) -> str | None:
    """The address of the line that defines a name."""
    config = get_config()
    line = defined(module).get(name)
    return f"{config.git_url}/blob/{config.branch}/{config.lib_path.name}/{module.replace('.', '/')}.py#L{line}" if line else None


@cache
def headed() -> set[str]:
    """The names that have a heading on a page: those in the `__all__` of a module."""
    found: set[str] = set()
    for path in get_config().lib_path.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found |= set(ast.literal_eval(node.value))
    return found


def linked(text: str) -> str:
    """Text without the links that nbdev makes to helpers, which have no heading to lead to."""
    return NAMED.sub(lambda found: found[0] if found[2].split(".")[0] in headed() else found[1], text)


def unbroken(text: str) -> str:
    """Text in which a number stays in one line with its interval: 0.812 ± 0.010."""
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def after_its_names(cells: list) -> list:
    """Each exported cell after the headings of what it defines, where nbdev put them behind it."""
    ordered, waiting = [], None
    for cell in cells:
        if waiting is not None and not getattr(cell, "has_sd", False):
            ordered.append(waiting)
            waiting = None
        if cell.cell_type == "code" and "export" in cell.directives_:
            waiting = cell
        else:
            ordered.append(cell)
    return ordered + ([waiting] if waiting is not None else [])


def toy_first(cells: list) -> list:
    """A page to play with: what one plays with right below the title, under the folded code that opens it, then the words."""
    toys = [cell for cell in cells if any(page_of(joined(out.get("data", {}).get("text/plain", ""))) for out in cell.get("outputs", []))]
    for cell in toys:
        cell.source = f'#| code-fold: true\n#| code-summary: "The code that opens it"\n{cell.source}'
    return cells[:1] + toys + [cell for cell in cells[1:] if cell not in toys]


def imports_only(source: str) -> bool:
    """Whether a cell does nothing but import."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a cell with a notebook's magic
        return False
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def fold_of(cell, module: str) -> str:
    """What stands on the fold of a code cell: imports and exported code of more than 12 lines have one; "" leaves it open."""
    exported = bool({"export", "exporti"} & set(cell.directives_))
    if imports_only(cell.source):
        return "Imports" if exported or not module else "Imports of the examples"
    lines = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#|")]
    if not exported or len(lines) <= LONG:
        return ""
    body = ast.parse(cell.source).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return f"Code of {' and '.join(names)}" if names else "Code"


class Pages(Processor):
    """Turns stored outputs into plain HTML and Markdown, gives every picture words, and shows what a page exports."""

    def begin(self) -> None:
        """Put headings before what they name, and find where the page lies, for relative addresses."""
        self.nb.cells = after_its_names(self.nb.cells)
        config = get_config()
        place = Path(self.nb.path_).resolve().relative_to(config.nbs_path.resolve())
        if place.parts[0] == "play":
            self.nb.cells = toy_first(self.nb.cells)
        self.up = "../" * (len(place.parts) - 1)
        self.home = config.doc_url.rstrip("/") + "/"
        self.near, self.figures, self.section, self.module = "", 0, False, ""

    def cell(self, cell) -> None:
        """Treat one cell."""
        if cell.cell_type == "markdown":
            cell.source = PICTURE.sub(described, cell.source)
            cell.source = TABLE.sub(SCROLLED, RUN_ME.sub(r"\g<0>{.run-me}", cell.source))
            cell.source = unbroken(linked(cell.source).replace(f"]({self.home}", f"]({self.up}"))
            self.section = self.section or bool(re.search(r"^## ", cell.source, re.M))
            self.near = plain(cell.source) or self.near
        if cell.cell_type == "code" and "%pip install" in cell.source:
            cell.source = None
            return
        if cell.cell_type == "code" and "default_exp" in cell.directives_:
            self.module = self.module or cell.directives_["default_exp"]
            cell.source = None
            return
        if cell.cell_type == "code":
            cell.source = COLAB.sub("", cell.source)
        if cell.cell_type == "code" and "code-fold" not in cell.source and (words := fold_of(cell, self.module)):
            cell.source = f'#| code-fold: true\n#| code-summary: "{words}"\n{cell.source}'
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"] = self.output(output["data"], cell)

    def output(self, data: dict, cell) -> dict:
        """What one stored output becomes."""
        if PLOTLY in data and (page := page_of(joined(data.get("text/plain", "")))):
            cell.source = f"#| column: page-right\n{cell.source}"
            return {"text/markdown": raw(live(self.up, page, joined(data["text/plain"])))}
        if PLOTLY in data:
            return {"text/markdown": raw(self.figure(data[PLOTLY], written_words(cell.source)))}
        if WIDGET in data:
            return {"text/markdown": raw(joined(data["text/html"])) if "text/html" in data else LIVE}
        if "text/html" in data:
            return {"text/markdown": raw(unbroken(scrolled(joined(data["text/html"]))))}
        if "text/markdown" in data:
            text = unbroken(linked(joined(data["text/markdown"])).replace(f"]({self.home}", f"]({self.up}"))
            return {"text/markdown": self.heading(text) if getattr(cell, "has_sd", False) else text}
        if any(kind in data for kind in PICTURES) and "fig-alt" not in cell.directives_ and "#| fig-alt" not in cell.source:
            cell.source = f"#| fig-alt: {json.dumps(self.near or 'Output of the cell above', ensure_ascii=False)}\n{cell.source}"
        return data

    def heading(self, text: str) -> str:
        """A name's heading, one step below the last one, with a link to the line that defines it."""
        name = text.lstrip("# ").strip()
        source = source_of(self.module, name)
        link = f'\n\n[source]({source}){{.source-link aria-label="Source of {name}"}}\n' if source else ""
        return f"{'###' if self.section else '##'} {name}{link}"

    def figure(self, figure: dict, words: str = "") -> str:
        """A plotly figure as an element that figures.js draws when it comes into view, with the page's own words for it if there are any."""
        self.figures += 1
        layout = dict(figure.get("layout") or {})
        layout.pop("template", None)
        words = html.escape(words or words_for(figure, self.near), quote=True)
        content = json.dumps({"data": figure.get("data", []), "layout": layout}, separators=(",", ":")).replace("<", "\\u003c")
        script = f'<script src="{self.up}site_libs/plotly/figures.js" defer></script>\n' if self.figures == 1 else ""
        return (
            f'{script}<div class="plotly-figure" role="img" aria-label="{words}" style="height:{int(layout.get("height") or 420)}px">'
            f'<script type="application/json">{content}</script></div>'
        )

    def end(self) -> None:
        """Drop the widget state that nbdev gathers: it would load a widget manager from elsewhere."""
        self.nb.metadata.pop("widgets", None)


def live(up: str, page: str, title: str) -> str:
    """An explorer's own page inside this one, in its colours, and a link to have it alone."""
    address = up + page
    height = HEIGHTS.get(Path(address).stem, 800)
    words = html.escape(title, quote=True)
    return (
        f'<iframe src="{address}" title="{words}" loading="lazy" class="explorer" style="height:{height}px"></iframe>'
        f'<script src="{up}site_libs/plotly/embedded.js" defer></script>'
        f'<p class="below"><a href="{address}">{words}, on a page of its own</a></p>'
    )


def scrolled(markup: str) -> str:
    """A table in a box that scrolls sideways on a narrow screen and can be reached with the keyboard."""
    markup = re.sub(r"<style scoped>.*?</style>", "", markup, flags=re.S)
    markup = re.sub(r' border="1"| style="text-align: right;"', "", markup)
    return f'<div class="wide" tabindex="0" role="region" aria-label="Table">{markup}</div>' if "<table" in markup else markup

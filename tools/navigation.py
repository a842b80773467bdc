"""Write nbs/sidebar.yml, the path through the course, from the pages there are.

python tools/navigation.py [--check]
"""

import re
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "nbs"
TARGET = PAGES / "sidebar.yml"
CHAPTERS = (
    ("Play", r"play/"),
    ("Course", r"course/"),
    ("Guides", r"guides/"),
    ("Explanations", r"explanations/"),
    ("Exercises", r"exercises/"),
)
BAR = {"Play": ("Play",), "Course": (), "Guides": ("Guides", "Explanations")}
"""What the bar says, and the chapters whose pages it lists there one by one; without any it leads to the chapter's first page."""


def notebooks() -> list[str]:
    """The pages, in the order of their names."""
    found = (path.relative_to(PAGES) for path in PAGES.rglob("*.ipynb"))
    return sorted(path.as_posix() for path in found if not any(part.startswith((".", "_")) for part in path.parts))


def chapters() -> dict[str, list[str]]:
    """The pages of each chapter that has any; every page but the index belongs to one."""
    left, found = [page for page in notebooks() if page != "index.ipynb"], {}
    for title, pattern in CHAPTERS:
        if taken := [page for page in left if re.match(pattern, page)]:
            found[title] = taken
            left = [page for page in left if page not in taken]
    if left:
        raise ValueError(f"no chapter in tools/navigation.py takes {', '.join(left)}")
    return found


def sidebar() -> str:
    """The file's text."""
    lines = ["# Written by tools/navigation.py from the pages there are: run `make export`.", "website:", "  navbar:", "    left:"]
    found = chapters()
    for title, listed in BAR.items():
        menu = [f"          - href: {page}" for chapter in listed for page in found[chapter]]
        lines += [f"      - text: {title}", *(["        menu:", *menu] if menu else [f"        href: {found[title][0]}"])]
    lines += ["      - text: Reference", "        href: reference.qmd"]
    lines += ["  sidebar:", "    contents:", "      - text: Home", "        href: index.ipynb"]
    for title, pages in found.items():
        lines += [f"      - section: {title}", "        contents:", *(f"          - {page}" for page in pages)]
    lines += ["      - section: Look up", "        contents:", "          - reference.qmd", "          - contributing.qmd"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or with --check say whether it is up to date."""
    text = sidebar()
    fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
    if "--check" in sys.argv:
        print("nbs/sidebar.yml is up to date" if fresh else "nbs/sidebar.yml is out of date: run `make export`")
        return int(not fresh)
    if not fresh:
        TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

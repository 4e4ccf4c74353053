"""What the site has beside the pages of this folder, and where links lead then."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
# Page of the site -> file of the source tree.
PAGES = {
    "index.md": "README.md",
    "serving.md": "export/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
PICTURES = "configs/figures"
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages and the pictures that lie elsewhere."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / PICTURES).glob("*.png")):
        name = f"{PICTURES}/{path.name}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of the source tree as links of the site; to other files, their names."""
    here = page.file.src_uri
    source = PAGES.get(here, f"docs/{here}")
    moved = {file: site for site, file in PAGES.items()}

    def lead(match: re.Match) -> str:
        text, target, anchor = match.groups(default="")
        if "://" in target or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        site = moved.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(site) is None:
            return text
        link = posixpath.relpath(site, posixpath.dirname(here) or ".")
        return f"[{text}]({link}{anchor})"

    # A picture has its "!" before the bracket, which stays where it is.
    return _LINK.sub(lead, markdown)

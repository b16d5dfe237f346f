"""What MkDocs calls while it builds: adds the reference and the files that pages link to, and adapts the Markdown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from docsite import cli_reference, code_reference, config_reference, http_reference, metric_reference  # noqa: E402
from docsite.flavour import adapted  # noqa: E402
from docsite.shown import DOCS, Shown, relinked  # noqa: E402
from docsite.words import anchor  # noqa: E402

REFERENCES = (cli_reference, config_reference, http_reference, code_reference, metric_reference)
_shown: list[Shown] = []  # of the build under way


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings are called as on GitHub; a page of the navigation that another change brings may not be there yet."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = lambda text, _: anchor(text)
    optional = {name for name in config.extra.get("optional", ()) if not (Path(config.docs_dir) / name).exists()}
    config.nav = without(config.nav, optional)
    return config


def without(nav: Any, names: set[str]) -> Any:
    """A navigation (lists, titles to pages) less the pages of these names."""
    if isinstance(nav, list):
        kept = [without(entry, names) for entry in nav]
        return [entry for entry in kept if entry not in (None, {})]
    if isinstance(nav, dict):
        return {title: found for title, entry in nav.items() if (found := without(entry, names)) is not None}
    return None if nav in names else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is made, and what is shown of this repository."""
    for reference in REFERENCES:
        for place, text in reference.pages().items():
            files.append(File.generated(config, place, content=text))
    shown = Shown(ROOT, [file.src_uri for file in files.documentation_pages() if file.generated_by is None])
    _shown[:] = [shown]
    for place, text in shown.pages.items():
        files.append(File.generated(config, place, content=text))
    for place, path in shown.files.items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them, Markdown as its reader takes it."""
    shown, here = _shown[0], page.file.src_uri
    source = shown.source.get(here) or (f"{DOCS}/{here}" if page.file.generated_by is None else None)
    if source is None:
        return markdown  # made by us
    if page.parent is None and not here.startswith("repo/"):
        page.meta.setdefault("hide", ["navigation"])  # nothing stands beside it
    return adapted(relinked(markdown, source, here, shown.place_of))

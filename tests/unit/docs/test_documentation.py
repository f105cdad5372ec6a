"""The documentation is held to what it documents."""

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("changelog.d/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tutorial_explains_the_whole_quickstart_and_nothing_else() -> None:
    tutorial = (REPOSITORY / "docs/tutorial/quickstart.md").read_text("utf-8")
    shown = "\n".join(re.findall(r"```toml\n(.*?)```", tutorial, re.DOTALL))
    topology = (REPOSITORY / "topologies/labctl_topologies/quickstart.toml").read_text("utf-8")
    assert tomllib.loads(shown) == tomllib.loads(topology)

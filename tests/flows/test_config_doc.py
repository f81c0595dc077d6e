"""docs/configuration.md is what the classes say."""

from __future__ import annotations

from flows.config_doc import page
from tests.shell import ROOT


def test_the_page_is_up_to_date() -> None:
    said = (ROOT / "docs" / "configuration.md").read_text()
    assert said == page(), "run: python -m flows.config_doc > docs/configuration.md"

"""The built-in page in a real browser, over a board that the tests fill."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from connectors.tables import BEHAVIOURS
from tests.browser.conftest import Site, Watched
from tests.dashboards.feeder import COINS, VIEW, WINDOW, event

pytestmark = pytest.mark.browser


def test_shows_map_events_mix_feeds_and_shoals(site: Site, desktop: Watched) -> None:
    site.feeder.story(12)
    page = desktop.open(site.url)
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    expect(page.locator("#map .exemplar")).to_have_count(5)
    expect(page.locator("#map .hull")).to_have_count(5)
    assert page.locator("#map .edge").count() >= len(COINS)
    expect(page.locator("#ready")).to_have_text("live")
    expect(page.locator("#feed .event[data-kind=left]")).to_have_count(2)
    expect(page.locator("#feed .event[data-kind=reorg] p")).to_contain_text("2 blocks deep")
    expect(page.locator("#shares li")).to_have_count(len(BEHAVIOURS))
    shares = [float(t.rstrip("%")) for t in page.locator("#shares li b").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    expect(page.locator("#drift canvas")).to_have_count(1)
    expect(page.locator("#mix canvas")).to_have_count(1)
    expect(page.locator("#shoals tbody tr")).to_have_count(5)
    expect(page.locator("#feeds .feedline.up")).to_have_count(2)
    assert desktop.complaints == []


def test_coins_have_the_colour_of_their_shoal_and_no_two_coins_share_a_place(site: Site, desktop: Watched) -> None:
    site.feeder.story(4)
    page = desktop.open(site.url)
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    script = """nodes => nodes.map(n => [
        n.dataset.coin, getComputedStyle(n.querySelector(".body")).fill, n.getAttribute("transform")])"""
    drawn = page.eval_on_selector_all("#map [data-coin]", script)
    colours: dict[int, set[str]] = {}
    for coin, fill, _ in drawn:
        colours.setdefault(int(site.feeder.home[COINS.index(coin)]), set()).add(fill)
    assert all(len(own) == 1 for own in colours.values())
    assert len(set.union(*colours.values())) == 5
    assert len({place for _, _, place in drawn}) == len(COINS)


def test_an_event_arrives_while_the_page_is_open(site: Site, desktop: Watched) -> None:
    site.feeder.story(3)
    page = desktop.open(site.url)
    expect(page.locator("#feed .event[data-kind=left]")).to_have_count(0)
    as_of = site.feeder.fit(mover=COINS.index("SOL"))
    first = page.locator("#feed .event").first
    expect(first).to_have_attribute("data-kind", "left")
    expect(first.locator("p")).to_contain_text(re.compile(r"^SOL left .+ for .+, margin −0\.21; now closer to "))  # noqa: RUF001
    # the same rows again, as after a restart: nothing is shown twice
    left = event("left", as_of, coin_id="ADA", shoal_from=1, shoal_to=2, margin=-0.3)
    for _ in range(2):
        site.feeder.board.publish("events", left)
    expect(page.locator("#feed .event[data-kind=left]")).to_have_count(2)
    assert desktop.complaints == []


def test_a_new_fit_moves_the_coin_on_the_map(site: Site, desktop: Watched) -> None:
    site.feeder.story(3)
    page = desktop.open(site.url)
    sol = page.locator("[data-coin=SOL]")
    before = sol.get_attribute("aria-label")
    site.feeder.fit(mover=COINS.index("SOL"))
    expect(sol).not_to_have_attribute("aria-label", before or "")
    name = COINS[site.feeder.exemplar(int(site.feeder.home[COINS.index("SOL")]))]
    expect(sol).to_have_attribute("aria-label", re.compile(f"in {name}’s shoal"))  # noqa: RUF001


def test_the_coin_panel_opens_and_closes_by_keyboard(site: Site, desktop: Watched) -> None:
    site.feeder.story(7)
    moved = page_coin = COINS[(5 * 7) % len(COINS)]
    page = desktop.open(site.url)
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    for _ in range(70):
        page.keyboard.press("Tab")
        page_coin = page.evaluate("document.activeElement.dataset.coin ?? ''")
        if page_coin == moved:
            break
    assert page_coin == moved
    expect(page.locator(f"[data-coin={moved}] .focus")).not_to_have_css("stroke", "rgba(0, 0, 0, 0)")
    page.keyboard.press("Enter")
    panel = page.locator("#coin")
    expect(panel).to_be_visible()
    expect(panel.locator("h2")).to_have_text(moved)
    expect(panel).to_contain_text("margin +0.18 before, −0.21 now")  # noqa: RUF001
    expect(panel.locator(".near-list li").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.coin") == moved
    assert desktop.complaints == []


def test_a_phone_needs_no_sideways_scroll_and_dark_is_dark(site: Site, phone: Watched) -> None:
    site.feeder.story(12)
    page = phone.open(site.url)
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(n) for n in re.findall(r"\d+", background)[:3]) < 150
    page.locator("[data-coin=BTC]").tap()
    expect(page.locator("#coin h2")).to_have_text("BTC")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.complaints == []


def test_the_theme_button_overrides_the_system_and_is_remembered(site: Site, desktop: Watched) -> None:
    site.feeder.story(3)
    page = desktop.open(site.url)
    theme = page.locator("html")
    expect(theme).to_have_attribute("data-theme", "light")
    page.locator("#theme").click()
    page.locator("#theme").click()
    expect(theme).to_have_attribute("data-theme", "dark")
    expect(page.locator("#drift canvas")).to_have_count(1)
    page.reload()
    expect(theme).to_have_attribute("data-theme", "dark")


def test_before_the_first_fit_it_says_what_it_waits_for(site: Site, desktop: Watched) -> None:
    site.feeder.expect()
    site.feeder.board.progress(WINDOW, 63, 120)
    page = desktop.open(site.url)
    expect(page.locator("#map")).to_contain_text("waiting for the first fit: 63 of 120 bars")
    expect(page.locator("#ready")).to_have_text("starting: 4 to come")
    page.locator("#ready").click()
    expect(page.locator("#missing")).to_contain_text(
        f"window {WINDOW}, view {VIEW}: 0 of 2 fits published (63 of 120 bars)"
    )
    expect(page.locator("#feed")).to_contain_text("quiet so far")
    # and it shows the first fit without a reload
    site.feeder.fit()
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    assert desktop.complaints == []


def test_a_lost_service_is_said_and_found_again(site: Site, desktop: Watched) -> None:
    site.feeder.story(3)
    page = desktop.open(site.url)
    expect(page.locator("#lost")).to_be_hidden()
    page.context.set_offline(True)
    site.server.stop()
    expect(page.locator("#lost")).to_contain_text("The connection to the service is lost")
    expect(page.locator("#map [data-coin]")).to_have_count(len(COINS))
    port = int(site.url.rstrip("/").rsplit(":", 1)[1])
    site.server._port = port
    site.server.start()
    page.context.set_offline(False)
    expect(page.locator("#lost")).to_be_hidden(timeout=20_000)
    expect(page.locator("#ready")).to_have_text("live")


def test_a_whole_market_is_drawn_on_a_canvas(site: Site, desktop: Watched) -> None:
    feeder = type(site.feeder)(site.feeder.board, coins=[f"coin{i:04d}" for i in range(900)], shoals=14)
    feeder.story(3)
    page = desktop.open(site.url)
    canvas = page.locator("#map canvas")
    expect(canvas).to_have_count(1)
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map .tip")).to_contain_text("coin0000")
    page.keyboard.press("Enter")
    expect(page.locator("#coin h2")).to_have_text("coin0000")
    assert desktop.complaints == []

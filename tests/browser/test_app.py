"""The app in a real browser: hostile names, keyboard, contrast and colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from benchmarks.zoom import PAGE
from playwright.sync_api import Page, expect
from tests.analysis.app.served import EVIL, HOSTILE, make_runs
from tests.browser.app_server import serving
from tests.browser.page_state import faint, focused, settled

from actrace.analysis.app.view import SECTIONS, View


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served") / "runs"
    make_runs(folder)
    with serving(folder) as url:
        yield url


def opened(page: Page, url: str, view: View) -> None:
    page.goto(url + view.query())
    settled(page)


def told(page: Page) -> dict[str, str]:
    """Return what the page's own URL says."""
    return {name: held[-1] for name, held in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.parametrize("section", SECTIONS)
def test_no_script_of_a_name_runs_on_a_runs_page(page: Page, url: str, section: str) -> None:
    view = View("run", run=EVIL, section=section, layer=HOSTILE[0], mark="all", phase="train")
    opened(page, url, view)
    page.get_by_text("harmed").first.wait_for(state="attached")
    page.locator("summary").first.click()
    for canvas in page.locator("canvas").all()[:4]:
        box = canvas.bounding_box()
        if box:
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.wait_for_timeout(100)


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(search=HOSTILE[0], tag=HOSTILE[1], status=HOSTILE[2]),
        View("compare", runs=(EVIL, "good")),
        View("compare", runs=("good", EVIL), layer=HOSTILE[0]),
        View("run", run=HOSTILE[0], section="layer", layer=HOSTILE[1]),
    ],
    ids=["table", "filters", "comparison", "comparison with it", "no such run"],
)
def test_no_script_of_a_name_runs_elsewhere(page: Page, url: str, view: View) -> None:
    opened(page, url, view)
    page.get_by_text("harmed").first.wait_for(state="attached")


def reached(page: Page, most: int = 60) -> list[str]:
    """Return the names of what Tab comes to, from the first to the last."""
    names: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        at = focused(page)
        if at is None:
            break
        assert at["seen"], f"the focus on {at} is not seen"
        assert at["name"], f"{at} has no name"
        names.append(at["name"])
    return names


def tabbed(page: Page, name: str, *, key: str = "Tab", most: int = 60) -> None:
    """Move the keyboard to what has a name."""
    for _ in range(most):
        page.keyboard.press(key)
        at = focused(page)
        if at is not None and at["name"] == name:
            return
    raise AssertionError(f"{key} does not come to {name!r}")


def test_all_of_the_table_is_reached_by_keyboard(page: Page, url: str) -> None:
    opened(page, url, View())
    names = reached(page)
    for label in ("Search names", "Status", "Tag", "Sorted by", "Read again", "Colours"):
        assert any(label in name for name in names), (label, names)
    page.get_by_label("Search names").fill("nested")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 4 runs").wait_for()
    tabbed(page, "Select nested/good")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Open")).to_be_enabled()
    tabbed(page, "Open", key="Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('page=run')")
    settled(page)
    assert told(page)["run"] == "nested/good"


def test_all_of_a_runs_page_is_reached_by_keyboard(page: Page, url: str) -> None:
    opened(page, url, View("run", run="good", section="peaks"))
    names = reached(page)
    for label in ("All runs", *SECTIONS.values(), "Epoch", "Reset", "Colours"):
        assert any(label in name for name in names), (label, names)


def test_a_charts_tools_work_by_keyboard(page: Page, url: str) -> None:
    opened(page, url, View("run", run="good", section="layer"))
    tool = page.get_by_role("button", name="Zoom values by the wheel")
    expect(tool).to_have_attribute("aria-pressed", "false")
    tabbed(page, "Zoom values by the wheel")
    page.keyboard.press("Enter")
    expect(tool).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(new_page: Callable[..., Page], url: str, dark: bool) -> None:
    page = new_page(dark=dark)
    for view in (
        View(),
        View("run", run="good", section="findings"),
        View("run", run="good", section="classes"),
        View("compare", runs=("good", "nested/good")),
        View("run", run="damaged"),
    ):
        opened(page, url, view)
        assert faint(page) == []


def ground(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_colours_follow_the_browser_until_the_switch_says_another(
    new_page: Callable[..., Page], url: str
) -> None:
    page = new_page(dark=True)
    opened(page, url, View("run", run="good", section="rates"))
    assert ground(page) == "rgb(20, 22, 26)"
    dark = page.locator("img").first.get_attribute("src")
    page.get_by_label("Colours").select_option("light")
    page.wait_for_function(
        "(before) => document.body.isConnected && location.search.includes('theme=light')", arg=dark
    )
    settled(page)
    assert ground(page) == "rgb(255, 255, 255)"
    assert page.locator("img").first.get_attribute("src") != dark
    page.reload()
    settled(page)
    assert ground(page) == "rgb(255, 255, 255)"


def test_what_is_in_view_is_in_the_url_and_no_step_of_its_own(page: Page, url: str) -> None:
    page.add_init_script(PAGE)
    opened(page, url, View("run", run="good", section="rates"))
    page.get_by_role("button", name="One layer").click()
    page.wait_for_function("() => window.zoom.image()")
    settled(page)
    left, top, wide, tall = page.evaluate("() => zoom.box()")
    page.mouse.move(left + wide / 2, top + tall / 2)
    for _ in range(3):
        before = page.url
        page.mouse.wheel(0, -300)
        page.wait_for_function("before => location.href !== before", arg=before)
    seen = page.evaluate("() => zoom.view()")
    view = View.from_query(urlsplit(page.url).query)
    assert view.batches == pytest.approx(seen[:2], rel=1e-5)
    assert view.values is None
    page.reload()
    settled(page)
    page.wait_for_function("() => window.zoom.image()?.name === 'sharp'")
    assert page.evaluate("() => zoom.view()") == pytest.approx(seen, rel=1e-5)
    page.get_by_title("Reset", exact=True).first.click()
    page.wait_for_function("() => !location.search.includes('batches')")
    assert page.evaluate("() => zoom.view().slice(0, 2)") == [0, 24]
    page.go_back()
    settled(page)
    assert told(page)["section"] == "rates"


def test_show_me_goes_to_the_chart_with_the_finding_marked(page: Page, url: str) -> None:
    opened(page, url, View("run", run="good", section="findings"))
    page.get_by_role("button", name="Show me").first.click()
    page.wait_for_function("location.search.includes('mark=')")
    settled(page)
    assert told(page)["section"] in SECTIONS
    page.locator("p.mark").first.wait_for()
    page.go_back()
    settled(page)
    assert told(page)["section"] == "findings"

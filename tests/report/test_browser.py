"""The page in Chromium: found, filtered, sorted, tabbed through, narrow, dark; silent and without a request."""

from pathlib import Path
from typing import Any

import pytest

from bertcli.evaluation.results import Evaluation
from bertcli.report.page import Report
from tests.report.conftest import HOSTILE, TEXTS, Page

CSS = "css selector"


def seen(browser: Any) -> list[str]:
    items = browser.find_elements(CSS, "#list li .text")
    return [item.text for item in items if item.is_displayed()]


def choose(browser: Any, select: str, text: str) -> None:
    (option,) = (element for element in browser.find_elements(CSS, f"#{select} option") if element.text == text)
    option.click()


def test_texts_are_shown_as_they_are(page: Page, classified: Evaluation) -> None:
    browser = page(Report("reviews", classified))
    assert browser.title == "reviews: bertcli report"
    shown = [item.get_property("textContent") for item in browser.find_elements(CSS, "#list li .text")]
    assert shown == TEXTS and HOSTILE in shown
    directions = [browser.execute_script("return getComputedStyle(arguments[0]).direction", item)
                  for item in browser.find_elements(CSS, "#list li .text")]  # fmt: skip
    assert directions == ["ltr", "ltr", "ltr", "ltr", "rtl", "ltr"]


def test_examples_are_searched_filtered_and_sorted(page: Page, classified: Evaluation) -> None:
    browser = page(Report("reviews", classified))
    query = browser.find_element(CSS, "#query")
    query.send_keys("GRIPPING")
    assert seen(browser) == [TEXTS[0]]
    assert browser.find_element(CSS, "#count").text == "1 example"
    browser.find_element(CSS, "form button").click()
    choose(browser, "right", "wrong only")
    assert len(seen(browser)) == 2 and seen(browser)[1] == TEXTS[4]
    choose(browser, "order", "least sure first")
    assert seen(browser)[0] == TEXTS[4]
    choose(browser, "gold", "neg")
    assert len(seen(browser)) == 1
    browser.find_element(CSS, "form button").click()
    assert len(seen(browser)) == 6 and seen(browser)[0] == TEXTS[0]


def test_a_count_of_the_matrix_shows_its_examples(page: Page, classified: Evaluation) -> None:
    browser = page(Report("reviews", classified))
    (button,) = browser.find_elements(CSS, "button[aria-label='1 examples of pos predicted as neg: show them']")
    button.click()
    assert seen(browser) == [TEXTS[4]]
    assert browser.switch_to.active_element.get_attribute("id") == "examples"


def test_everything_is_reached_by_the_keyboard_and_shows_its_focus(
    page: Page, classified: Evaluation, log: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page(Report("reviews", classified, log))
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        active = browser.switch_to.active_element
        if active.tag_name == "body":
            break
        outline = browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", active)
        assert outline == "solid", active.get_attribute("outerHTML")
        reached.append(active.get_attribute("id") or active.get_attribute("class") or active.tag_name)
    assert reached[0] == "skip"
    assert reached[-6:] == ["query", "right", "gold", "predicted", "order", "button"]
    assert reached.count("chart") == 5 and reached.count("summary") == 5


def test_the_arrow_keys_read_a_chart(page: Page, classified: Evaluation) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page(Report("reviews", classified))
    chart = browser.find_element(CSS, ".chart")
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    values = [element.text for element in chart.find_elements(CSS, ".u-value")]
    assert values == ["0.85", "0.75", "0.85", "0.6667"]


def test_controls_have_names(page: Page, classified: Evaluation, log: Path) -> None:
    browser = page(Report("reviews", classified, log))
    controls = browser.find_elements(CSS, "input, select, button, a, summary, [tabindex='0']")
    for control in (element for element in controls if element.is_displayed()):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert [element.text for element in browser.find_elements(CSS, "h1")] == ["reviews"]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_no_width_scrolls_sideways(page: Page, classified: Evaluation, log: Path, width: int) -> None:
    browser = page(Report("reviews" * 20, classified, log), width=width)
    assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]


def luminance(colour: list[float]) -> float:
    """Of an sRGB colour in 0 to 255 (WCAG 2.2, relative luminance)."""
    parts = [element / 255 for element in colour]
    linear = [element / 12.92 if element <= 0.04045 else ((element + 0.055) / 1.055) ** 2.4 for element in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_read_in_both_schemes(page: Page, tagged: Evaluation, scheme: str) -> None:
    """At least 4.5 to 1, as WCAG asks of text."""
    browser = page(Report("names", tagged), scheme=scheme)
    script = """
      const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
      const ground = (node) => {
        for (; node; node = node.parentElement) {
          const own = numbers(getComputedStyle(node).backgroundColor);
          if (own.length === 3) return own;
        }
      };
      return [...document.querySelectorAll("h1, p, mark, .tag, b, th, td, a, label, input, select")]
        .map((node) => [node.outerHTML, numbers(getComputedStyle(node).color), ground(node)]);"""
    for html, ink, paper in browser.execute_script(script):
        darker, lighter = sorted([luminance(ink), luminance(paper)])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, html
    dark = luminance(browser.execute_script(script)[0][2]) < 0.2
    assert dark == (scheme == "dark")


def test_entities_say_what_they_are_without_colours(page: Page, tagged: Evaluation) -> None:
    browser = page(Report("names", tagged))
    text = browser.find_element(CSS, "#list .text").get_property("textContent")
    assert text == "Tim CookPER met AngelaPER, missed in BerlinLOC, wrong."
    choose(browser, "gold", "LOC")
    assert seen(browser) == []
    choose(browser, "gold", "PER")
    assert len(seen(browser)) == 1

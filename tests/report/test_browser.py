"""The page in Chromium: found, filtered, sorted, tabbed through, narrow, dark; silent and without a request."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertcli.evaluation import Evaluation
from bertcli.report import Report
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


LABELS = {
    "English": [f"balance_not_updated_after_cheque_or_cash_deposit_{i}" for i in range(150)],
    "Chinese": [f"查询信用卡还款失败后多久可以再次尝试以及手续费问题{i}" for i in range(77)],
    "without a break": ["x" * 120 + str(i) for i in range(150)],
    "few": [f"balance_not_updated_after_cheque_or_cash_deposit_{i}" for i in range(4)],
}


@pytest.mark.parametrize("name", LABELS)
def test_long_labels_leave_their_numbers_in_sight(page: Page, classified: Evaluation, name: str) -> None:
    labels = LABELS[name]
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1000, "average_precision": 0.5}
    matrix = [[(i + j) % 7 for j in range(len(labels))] for i in range(len(labels))]
    metrics = {"per_class": dict.fromkeys(labels, row), "confusion": {"labels": labels, "matrix": matrix}}
    report = Report("intents", replace(classified, metrics=metrics))
    script = """
      const cells = [...document.querySelectorAll("#table-0 :is(th, td), #confusion :is(th, td)")].map((cell) => {
        const { left, right, width } = cell.getBoundingClientRect();
        const box = cell.closest(".scroll").getBoundingClientRect();
        const isCut = cell.scrollWidth > Math.ceil(width) || left < box.left - 1 || right > box.right + 1;
        return isCut && !cell.closest(".matrix") ? cell.textContent : null;
      });
      return [document.documentElement.scrollWidth, cells.filter(Boolean)];"""
    for width in (360, 390, 768, 1200, 1600):
        browser = page(report, width=width)
        assert browser.execute_script(script) == [width, []], width
    shown = [cell.get_property("textContent") for cell in browser.find_elements(CSS, "#table-0 tbody .label")]
    assert shown == labels
    heads = browser.find_elements(CSS, ".matrix thead .label")
    assert [head.get_attribute("title") for head in heads] == (labels if name == "few" else [])


def test_numbers_on_an_axis_are_told_apart(page: Page, log: Path) -> None:
    browser = page(Report("reviews", log=log))
    script = "return [0, 0.0001, 0.000025, 0.0005, 0.001, 0.25, 1.5, 20000].map(short)"
    assert browser.execute_script(script) == ["0", "1e-4", "2.5e-5", "5e-4", "0.001", "0.25", "1.5", "20,000"]
    marks = browser.execute_script("const axis = [...plots.values()].at(-1).axes[1]; return axis._values")
    assert len(marks) > 2 and len(set(marks)) == len(marks)


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

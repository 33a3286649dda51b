"""The page of `explain --html` in Chromium: it draws without an error or a request, and works by keyboard."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bertcli.report import explain_page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PIECES = ["[CLS]", "not", "good", "[SEP]"]
HEADS = [(1, 1), (1, 2), (2, 1), (2, 2)]
HARD = "<img src=x onerror=alert(1)>"


def result(text: str) -> dict[str, Any]:
    words = [
        {"text": text, "start": 0, "end": len(text), "attribution": -1.5},
        {"text": "good", "start": len(text) + 1, "end": len(text) + 5, "attribution": 0.5},
    ]
    figures = {
        "score": 0.9, "predict_score": 0.89, "predict_layers": 6, "unit": "log-odds", "value": -0.5,
        "baseline_value": 0.5, "sum": -1.0, "error": 0.001, "complete": True, "steps": 16,
    }  # fmt: skip
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0], [0.25] * 4, [0.0, 0.0, 0.5, 0.5]])
    matrices = [{"layer": layer, "head": head, "weights": rows if head == 1 else rows[::-1]} for layer, head in HEADS]
    return {
        "baseline": "[MASK]", "weights": "model.safetensors",
        "explanations": [{"target": name, **figures, "words": words, "tokens": []} for name in ("neg", "pos")],
        "attention": [{"tokens": PIECES, "matrices": matrices}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser(chromium: "Chrome", tmp_path_factory: pytest.TempPathFactory) -> "Chrome":
    path = tmp_path_factory.mktemp("page") / "page.html"
    with explain_page(str(path)) as add:
        add(result("not"))
        add(result(HARD))
    chromium.get_log("browser"), chromium.get_log("performance")  # those of other pages
    phone = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    chromium.get(path.as_uri())
    return chromium


def tokens(browser: Any) -> list[str]:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(lambda page: page.find_elements("css selector", "#tokens button"))
    return [button.text for button in browser.find_elements("css selector", "#tokens button")]


def choose(browser: Any, name: str, label: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_visible_text(label)


def test_it_shows_words_attention_and_text_as_text(browser: Any) -> None:
    assert tokens(browser) == ["[CLS] 70 %", "not 10 %", "good 10 %", "[SEP] 10 %"]
    assert browser.find_element("id", "headline").text == "neg 90.00 % (predict: 89.00 %)"
    assert [row.text for row in browser.find_elements("css selector", "#words tr")] == ["not \u22121.50", "good +0.50"]
    assert "Predict computed 6 layers; the sum is of all layers." in browser.find_element("id", "sum").text
    choose(browser, "head", "2")
    assert tokens(browser)[0] == "[CLS] 0 %" and tokens(browser)[3] == "[SEP] 50 %"
    choose(browser, "head", "mean of all")
    assert tokens(browser)[0] == "[CLS] 35 %"
    choose(browser, "target", "pos")
    assert browser.find_element("id", "headline").text.startswith("pos ")


def test_keys_move_from_token_to_token(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(browser, "head", "1")
    tokens(browser)
    browser.find_element("css selector", "#tokens button").click()
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element.text.startswith("not") and tokens(browser)[1] == "not 100 %"


def test_markup_in_a_text_is_text_and_nothing_is_complained_of_or_fetched(browser: Any) -> None:
    choose(browser, "record", browser.find_elements("css selector", "#record option")[1].text)
    tokens(browser)
    assert HARD in browser.find_element("id", "texts").text
    assert browser.find_elements("css selector", "img") == []
    width = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]  # a phone needs no scrolling sideways
    assert browser.get_log("browser") == []
    assert "unsafe" not in browser.find_element("css selector", "meta[http-equiv]").get_attribute("content")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    fetched = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert fetched == {browser.current_url}

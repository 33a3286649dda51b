"""An evaluation of each kind, and a browser that opens its page."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bertcli.data.records import Record
from bertcli.evaluation import Curve, Evaluation, Interval, LengthBucket, Reliability
from bertcli.metrics.calibration import Bin
from bertcli.report import Report, render
from bertcli.tasks.texts import Example, Mark

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> & \u2028 ]]> </li>"
TEXTS = ["a gripping film", "never wakes up", HOSTILE, "这部电影很好看", "فيلم رائع جدا", "long" * 100]


def record(text: str, line: int) -> Record:
    return Record(line - 1, {"text": text}, line, "data/dev.jsonl")


def example(text: str, line: int, **fields: Any) -> Example:
    return Example(record(text, line), text, **fields)


@pytest.fixture
def classified() -> Evaluation:
    labels = ["neg", "pos"]
    gold = [1, 0, 0, 1, 1, 0]
    predicted = [1, 0, 1, 1, 0, 0]
    examples = [
        example(text, i + 1, gold=labels[y], predicted=labels[z], right=y == z, score=0.9 - i / 10, sure=0.9 - i / 10)
        for i, (text, y, z) in enumerate(zip(TEXTS, gold, predicted, strict=True))
    ]
    return Evaluation(
        task="text-classification",
        model="reviews",
        metric="accuracy",
        metrics={
            "accuracy": 4 / 6,
            "per_class": {label: {"precision": 0.5, "recall": None, "support": 3} for label in labels},
            "confusion": {"labels": labels, "matrix": [[2, 1], [1, 2]]},
        },
        records=6,
        faults=["data/dev.jsonl:9: not JSON"],
        examples=examples,
        tokens=[5] * 6,
        intervals={"accuracy": Interval(0.3333, 1.0)},
        reliability=Reliability("texts", 0.1234, (Bin(0.4, 0.5, 2, 0.45, 0.5), Bin(0.8, 0.9, 4, 0.85, 0.75))),
        curve=Curve("texts", (0.0, 0.5, 1.0), (0.6667, 0.75, None), (0.6667, 0.5, 0.0), (0.6667, 0.6, 0.0)),
        lengths=(LengthBucket(1, 16, 6, 4 / 6),),
    )


@pytest.fixture
def tagged() -> Evaluation:
    text = "Tim Cook met Angela in Berlin."
    gold = (Mark(0, 8, "PER"), Mark(13, 19, "PER"))
    predicted = (Mark(0, 8, "PER", 0.99), Mark(23, 29, "LOC", 0.7))
    return Evaluation(
        task="token-classification",
        model="names",
        metric="f1",
        metrics={"f1": 0.5, "per_class": {"LOC": {"f1": 0.0, "support": 0}, "PER": {"f1": 0.6667, "support": 2}}},
        records=1,
        faults=[],
        examples=[
            example(
                text, 1, gold=[{"type": "PER"}], predicted=[{"type": "LOC"}], right=False, sure=0.7,
                gold_marks=gold, predicted_marks=predicted,
            )
        ],
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Of a run of 1,000 steps, scored each 100."""
    path = tmp_path / "log.jsonl"
    lines = []
    for step in range(1, 1001):
        lines.append({"event": "step", "step": step, "loss": 1 / step, "lr": 1e-4})
        if step % 100 == 0:
            metrics = {"accuracy": step / 1000, "loss": 2 / step}
            lines.append({"event": "eval", "step": step, "metrics": metrics, "metric": "accuracy"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator["Chrome"]:
    """Debian's Chromium without a window; what it says and fetches is kept."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", *root):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        yield browser


Page = Callable[..., "Chrome"]


@pytest.fixture
def page(chromium: "Chrome", tmp_path: Path) -> Iterator[Page]:
    """`page(report, width=390, scheme="dark")` opens a page; in the end nothing was complained of, nothing fetched."""
    address = (tmp_path / "report.html").as_uri()
    chromium.get_log("browser"), chromium.get_log("performance")

    def show(report: Report, width: int = 1200, height: int = 900, scheme: str = "light") -> "Chrome":
        (tmp_path / "report.html").write_text(render(report), encoding="utf-8")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chromium.get(address)
        return chromium

    yield show
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    fetched = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {url.partition("#")[0] for url in fetched} == {address}

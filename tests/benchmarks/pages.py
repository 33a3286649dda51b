"""The pages of 1,000 real examples: their sizes, what Chromium says of them, and the picture that the README shows.

`python tests/benchmarks/pages.py FOLDER`, where the shared data is: SST-2's dev set and 128 phrases of train, the first
1,000 sentences of UNER EWT's dev set, the first 1,000 questions of SQuAD 1.1's. Prints one JSON object a page.
"""

import json
import lzma
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from selenium import webdriver

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
COUNT, SHOWN = 1000, {"width": 1100, "height": 820, "deviceScaleFactor": 1, "mobile": False}


def unpacked(path: Path) -> str:
    return lzma.open(path, "rt", encoding="utf-8").read()


def reviews() -> str:
    folder = DATA / "research" / "sst2" / "glue"
    rows = (folder / "dev.tsv").read_text(encoding="utf-8").splitlines()
    more = unpacked(folder / "train.tsv.xz").splitlines()
    return "\n".join([*rows, *more[1:]][: COUNT + 1]) + "\n"


def sentences() -> str:
    return "\n\n".join(unpacked(DATA / "open/uner_en_ewt/en_ewt-ud-dev.iob2.xz").split("\n\n")[:COUNT]) + "\n\n"


def questions() -> str:
    articles, left = json.loads(unpacked(DATA / "open/squad/dev-v1.1.json.xz"))["data"], COUNT
    for article in articles:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = paragraph["qas"][:left]
            left -= len(paragraph["qas"])
    return json.dumps({"version": "1.1", "data": articles})


PAGES = {
    "sst2.tsv": (reviews, ["--text-field", "sentence"]),
    "ner.iob2": (sentences, ["-t", "ner"]),
    "qa.json": (questions, ["-t", "qa"]),
}


def browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def opened(chromium: webdriver.Chrome, page: Path) -> dict[str, Any]:
    """Seconds to load, console messages, and requests besides the page's own."""
    began = time.perf_counter()
    chromium.get(page.as_uri())
    seconds = round(time.perf_counter() - began, 2)
    requests = [entry for entry in chromium.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    own = [entry for entry in requests if page.as_uri() in entry["message"]]
    return {"seconds": seconds, "console": chromium.get_log("browser"), "requests": len(requests) - len(own)}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        for name, (content, options) in PAGES.items():
            data, page = folder / name, folder / f"{name}.html"
            data.write_text(content(), encoding="utf-8")
            command = [sys.executable, "-m", "bertcli", "evaluate", str(data), *options, "--report", str(page), "-q"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            print(json.dumps({"page": name, "bytes": page.stat().st_size, **opened(chromium, page)}))
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SHOWN)
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        chromium.get((folder / "ner.iob2.html").as_uri())
        chromium.execute_script("document.getElementById('chart-0').scrollIntoView()")
        chromium.save_screenshot(str(SCREENSHOTS / "report.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

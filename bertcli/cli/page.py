"""The page of `explain --html`: one file without network, whose script draws what the JSON in it says.

Text goes into the page as JSON and out of it as text nodes, so that nothing in it is ever markup. Attention is kept in
steps of 1/255, compressed, for it grows with the square of the text.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bertcli.data.sinks import open_sink

TEMPLATE = Path(__file__).with_name("page.html")
DATA = "@DATA@"  # what the template has in place of the results


class Page:
    """Collects results and writes them when it is closed: complete or not at all."""

    def __init__(self, path: str) -> None:
        self.sink = open_sink(path)
        self.results: list[dict[str, Any]] = []

    def add(self, result: Mapping[str, Any]) -> None:
        """Keep what the page shows of a result."""
        explanations = [
            {name: value for name, value in own.items() if name != "tokens"} for own in result["explanations"]
        ]
        kept = {name: result[name] for name in ("baseline", "weights", "windows", "truncated") if name in result}
        self.results.append(
            {**kept, "explanations": explanations, "attention": [_packed(window) for window in result["attention"]]}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Write the page unless the run failed."""
        if kind is not None:
            self.sink.discard()
            return
        self.sink.write(render(self.results).encode("utf-8", "backslashreplace"))
        self.sink.commit()


def render(results: list[dict[str, Any]]) -> str:
    """The page as text."""
    data = json.dumps(results, ensure_ascii=False).replace("<", "\\u003c")  # no </script> can end the data
    return TEMPLATE.read_text(encoding="utf-8").replace(DATA, data, 1)


def _packed(window: Mapping[str, Any]) -> dict[str, Any]:
    """tokens, the layer and head of each matrix, and all matrices, one after the other, as zlib in base64."""
    data = zlib.compress(b"".join(_bytes(matrix["weights"]) for matrix in window["matrices"]), 9)
    heads = [[matrix["layer"], matrix["head"]] for matrix in window["matrices"]]
    return {"tokens": window["tokens"], "heads": heads, "weights": base64.b64encode(data).decode()}


def _bytes(weights: "np.ndarray[Any, Any]") -> bytes:
    """Weights (T, T) between 0 and 1 in steps of 1/255."""
    return bytes(np.rint(weights * 255).astype(np.uint8))

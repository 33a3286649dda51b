"""Results for people: a line each as they come, the finding first, then as much of the text as fits; with entities all.

    positive   99.8% ████████  a gripping film
    negative   87.1% ███████   nothing but boilerplate clichés from start to finish, and the same old…

What a result means is read off its form: `answer` with `start`; `entities`; `masks`; `label` with `score`; `labels`
with `label_scores`, all that apply; `top` and `scores`, the rest; `score` alone, a quantity. Any other field is shown
as key=value. Text is data, never markup or terminal control.

Try: echo "a gripping film" | bertcli predict --format rich
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from bertcli.data import visible
from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Record, describe, is_error, json_text

TEXTS = ("text", "text_pair")
UNITS = (("utf-32-le", 4), ("utf-16-le", 2), ("utf-8", 1))  # of offsets: bytes of one
AROUND = 30  # characters shown before an answer
_PALETTE = ("cyan", "yellow", "blue", "bright_magenta", "bright_cyan", "bright_blue")  # red is for errors
_BAR, _LABEL = 8, 20  # widths in cells

Pair = tuple[str, Any]  # a label and its score, None without one


@dataclass(eq=False)
class Formatter(BaseFormatter):
    """A line per result, coloured and cut to the width that the terminal has at that moment."""

    REMEMBERED = ("_colours", "_width")
    _colours: dict[str, str] = field(default_factory=lambda: {"positive": "green", "negative": "magenta"})
    _width: int = 8  # of the label column: grows with the labels seen

    def __post_init__(self) -> None:
        # rich only lays out and colours; the bytes leave through the writer
        is_terminal = True if self.terminal and self.terminal.isatty() else None  # None: as FORCE_COLOR says
        self._console = Console(file=StringIO(), force_terminal=is_terminal, highlight=False)

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """One line; an error is shown whole, however long."""
        if is_error(result):
            return self._printed(Text(f"error  {visible(describe(result))}", style="red"))
        line, fields = Text(), dict(result)  # each step takes what it shows out of the fields
        if isinstance(fields.get("answer"), str) and "start" in fields:  # else it is a field of the input
            self._answer(line, fields)
        self._labels(line, fields)
        masks = fields.get("masks")
        has_entities = _has_items(fields.get("entities"), {"type", "text"}) and isinstance(fields.get("text"), str)
        if has_entities:
            self._entities(line, fields)
        if isinstance(masks, list) and all(_has_items(guesses, {"token", "score"}) for guesses in masks):
            for i, guesses in enumerate(fields.pop("masks")):  # the tokens for each mask, masks parted by a bar
                line.append("| " if i else "", style="dim")
                for k, guess in enumerate(guesses):
                    line.append(visible(guess["token"]), style="" if k else "bold cyan")
                    line.append(f"{_percent(guess['score'])}  ", style="dim")
        line.append(" | ".join(self._shown(fields.pop(name)) for name in TEXTS if name in fields))
        for name, value in fields.items():
            line.append(f"  {visible(name)}=", style="dim").append(self._shown(value))
        if not has_entities:  # one that is cut off is not seen
            line.truncate(self._console.width, overflow="ellipsis")
        return self._printed(line)

    def _answer(self, line: Text, fields: dict[str, Any]) -> None:
        """How sure, the answer, the question, and the context from shortly before the answer on, which is in place."""
        answer, score, start = fields.pop("answer"), fields.pop("score", None), fields.pop("start", None)
        for name in ("end", "answers"):
            fields.pop(name, None)
        if _is_share(score):
            _append_bar(line, score, "green")
        line.append(visible(answer) or "no answer", style="bold green" if answer else "bold").append("  ")
        line.append(self._shown(fields.pop("question", "")), style="cyan").append("  ")
        context = fields.pop("context", None) or fields.pop("text", None)
        if isinstance(context, str):
            begin = _offsets(context, [(answer, start)])[0] if answer else 0
            first = max(begin - AROUND, 0)
            line.append(("…" if first else "") + visible(context[first:begin]), style="dim")
            line.append(visible(answer), style="green")
            line.append(self._shown(context[begin + len(answer) :]), style="dim")

    def _labels(self, line: Text, fields: dict[str, Any]) -> None:
        """The labels with their scores, the first in a column of its own; without any, the quantity."""
        labels: list[Pair] = []  # those decided on, then the others of `top` and `scores`
        if isinstance(fields.get("label", 0), str | None):  # None: no label reached the threshold
            labels = [(fields.pop("label") or "none", fields.pop("score", None))]
        elif (pairs := _pairs(fields.get("labels"))) is not None:
            del fields["labels"]
            scores = fields.pop("label_scores", None) or [score for _, score in pairs]
            labels = [(label, score) for (label, _), score in zip(pairs, scores, strict=False)] or [("none", None)]
        for name in ("top", "scores"):
            if pairs := _pairs(fields.get(name)):
                del fields[name]
                said = {label for label, _ in labels}
                labels += [pair for pair in pairs if pair[0] not in said]
        if not labels and _is_number(fields.get("score")):
            line.append(f"{fields.pop('score'):>8.4g}  ", style="bold")
        for label, score in labels[:1]:
            shown, colour = visible(label), self._colour(label)
            self._width = max(self._width, min(cell_len(shown), _LABEL))
            line.append(set_cell_size(shown, self._width), style=f"bold {colour}")
            if _is_share(score):
                _append_bar(line, score, colour)
            else:
                line.append("  " if score is None else f" {self._shown(score)}  ")
        for label, score in labels[1:]:
            line.append(visible(label), style=self._colour(label)).append(f"{_percent(score)}  ", style="dim")

    def _entities(self, line: Text, fields: dict[str, Any]) -> None:
        """The text with each entity in the colour of its type, which follows it."""
        text, entities, end = fields.pop("text"), fields.pop("entities"), 0
        for name in ("tokens", "tags"):
            fields.pop(name, None)
        offsets = _offsets(text, [(entity["text"], entity.get("start")) for entity in entities])
        for begin, entity in zip(offsets, entities, strict=True):
            line.append(visible(text[end:begin]))
            line.append(visible(entity["text"]), style=f"bold {self._colour(entity['type'])}")
            line.append(f" {visible(entity['type'])}", style=f"dim {self._colour(entity['type'])}")
            end = begin + len(entity["text"])
        line.append(visible(text[end:]))

    def _colour(self, label: str) -> str:
        """The same colour for a label all along: the next of the palette when it is first seen."""
        return self._colours.setdefault(label, _PALETTE[len(self._colours) % len(_PALETTE)])

    def _shown(self, value: Any) -> str:
        """A value in one line, and no more of it than could fit."""
        if isinstance(value, float):
            return f"{value:.4g}"
        text = value if isinstance(value, str) else json_text(value)
        return visible(text[: 4 * self._console.width])

    def _printed(self, line: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(line, soft_wrap=True)
        return capture.get()


def _append_bar(line: Text, score: float, style: str) -> None:
    line.append(f"{_percent(score):>7} ")
    line.append("█" * round(score * _BAR) + " " * (_BAR - round(score * _BAR)), style=style).append("  ")


def _pairs(value: Any) -> list[Pair] | None:
    """[{"label": "a", "score": 0.9}, "b"] or {"a": 0.9, "b": None} -> [("a", 0.9), ("b", None)]; else None."""
    if isinstance(value, Mapping):
        return list(value.items())
    pairs: list[Pair] = []
    for item in value if isinstance(value, list) else [None]:
        label, score = (item.get("label"), item.get("score")) if isinstance(item, Mapping) else (item, None)
        if not isinstance(label, str):
            return None
        pairs.append((label, score))
    return pairs


def _has_items(value: Any, names: set[str]) -> bool:
    """Whether it is a list of mappings that have these names."""
    return isinstance(value, list) and all(isinstance(item, Mapping) and names <= item.keys() for item in value)


def _offsets(text: str, parts: Sequence[tuple[str, Any]]) -> list[int]:
    """Where the parts are that begin at the given offsets, in the unit in which all do; else the next after another."""
    for encoding, size in UNITS:
        raw = text.encode(encoding, "surrogatepass")
        if all(isinstance(start, int) for _, start in parts):
            offsets = [len(raw[: size * start].decode(encoding, "replace")) for _, start in parts]
            if all(text.startswith(part, offset) for (part, _), offset in zip(parts, offsets, strict=True)):
                return offsets
    offsets, end = [], 0
    for part, _ in parts:
        offsets.append(max(text.find(part, end), end))
        end = offsets[-1] + len(part)
    return offsets


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _percent(score: Any) -> str:
    return f" {score:.1%}" if _is_share(score) else ""

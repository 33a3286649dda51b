"""Results for people: a line each as they come, the finding first, then as much of the text as fits; with entities all.

    positive   99.8% ████████  a gripping film
    negative   87.1% ███████   nothing but boilerplate clichés from start to finish, and the same old…

What a result means is read off its form: `answer` with `score`; `entities`; `masks`; `label` with `score`; `labels`
with `label_scores`, all that apply; `top` and `scores`, the rest; `score` alone, a quantity. Any other field is shown
as key=value. Text is data, never markup or terminal control.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from bertcli.data.results import describe, is_error, json_text
from bertcli.data.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text

EXTENSIONS = ()
TEXTS = ("text", "text_pair")
_PALETTE = ("cyan", "yellow", "blue", "bright_magenta", "bright_cyan", "bright_blue")  # red is for errors
UNITS = (("utf-32-le", 4), ("utf-16-le", 2), ("utf-8", 1))  # of offsets: bytes of one
AROUND = 30  # characters shown before an answer
_BAR, _LABEL = 8, 20  # widths in cells


class RichFormatter:
    """A line per result, coloured and cut to the width that the terminal has at that moment."""

    def __init__(self, terminal: TextIO | None) -> None:
        from io import StringIO

        from rich.console import Console

        # rich only lays out and colours; the bytes leave through the writer
        is_terminal = True if terminal and terminal.isatty() else None  # None: as FORCE_COLOR says
        self._console = Console(file=StringIO(), force_terminal=is_terminal, highlight=False)
        self._colours = {"positive": "green", "negative": "magenta"}
        self._width = 8  # of the label column: grows with the labels seen

    @property
    def state(self) -> Any:
        """See writers.Stateful."""
        return [self._colours, self._width]

    @state.setter
    def state(self, state: Any) -> None:
        self._colours, self._width = state

    def record(self, result: Mapping[str, Any]) -> str:
        """One line; an error is shown whole, however long."""
        from rich.text import Text

        if is_error(result):
            return self._printed(Text(f"error  {visible(describe(result))}", style="red"))
        line = Text()
        rest = dict(result)
        if isinstance(rest.get("answer"), str):
            self._answer(line, rest)
        rest = self._finding(line, rest)
        has_entities = _is_entities(rest.get("entities")) and isinstance(rest.get("text"), str)
        if has_entities:
            self._entities(line, rest.pop("text"), rest.pop("entities"))
            for name in ("tokens", "tags"):
                rest.pop(name, None)
        if _is_guesses(rest.get("masks")):
            self._guesses(line, rest.pop("masks"))
        line.append(" | ".join(self._shown(rest.pop(name)) for name in TEXTS if name in rest))
        for name, value in rest.items():
            line.append(f"  {visible(name)}=", style="dim").append(self._shown(value))
        if not has_entities:  # one that is cut off is not seen
            line.truncate(self._console.width, overflow="ellipsis")
        return self._printed(line)

    def end(self) -> str:
        """Nothing closes the lines."""
        return ""

    def _finding(self, line: "Text", fields: dict[str, Any]) -> dict[str, Any]:
        """Append what was found; returns the fields that are not shown by that."""
        findings = _findings(fields)
        if findings:
            self._first(line, *findings[0])
            for label, score in findings[1:]:
                line.append(visible(label), style=self._colour(label)).append(f"{_percent(score)}  ", style="dim")
        elif _is_number(fields.get("score")):
            line.append(f"{fields.pop('score'):>8.4g}  ", style="bold")
        return fields

    def _entities(self, line: "Text", text: str, entities: list[Mapping[str, Any]]) -> None:
        """The text with each entity in the colour of its type, which follows it."""
        place = 0
        starts = _places(text, [(entity["text"], entity.get("start")) for entity in entities])
        for start, entity in zip(starts, entities, strict=True):
            line.append(visible(text[place:start]))
            line.append(visible(entity["text"]), style=f"bold {self._colour(entity['type'])}")
            line.append(f" {visible(entity['type'])}", style=f"dim {self._colour(entity['type'])}")
            place = start + len(entity["text"])
        line.append(visible(text[place:]))

    def _answer(self, line: "Text", fields: dict[str, Any]) -> None:
        """How sure, the answer, the question, and the context from shortly before the answer on, which is in place."""
        answer, score, start = fields.pop("answer"), fields.pop("score", None), fields.pop("start", None)
        for name in ("end", "answers"):
            fields.pop(name, None)
        if _is_share(score):
            self._bar(line, score, "green")
        line.append(visible(answer) or "no answer", style="bold green" if answer else "bold").append("  ")
        line.append(self._shown(fields.pop("question", "")), style="cyan").append("  ")
        context = fields.pop("context", None) or fields.pop("text", None)
        if isinstance(context, str):
            place = _places(context, [(answer, start)])[0] if answer else 0
            first = max(place - AROUND, 0)
            line.append(("…" if first else "") + visible(context[first:place]), style="dim")
            line.append(visible(answer), style="green")
            line.append(self._shown(context[place + len(answer) :]), style="dim")

    def _guesses(self, line: "Text", masks: list[list[Mapping[str, Any]]]) -> None:
        """The tokens for each mask with their scores, masks parted by a bar."""
        for i, guesses in enumerate(masks):
            line.append("| " if i else "", style="dim")
            for k, guess in enumerate(guesses):
                line.append(visible(guess["token"]), style="" if k else "bold cyan")
                line.append(f"{_percent(guess['score'])}  ", style="dim")

    def _bar(self, line: "Text", score: float, style: str) -> None:
        line.append(f"{_percent(score):>7} ")
        line.append("█" * round(score * _BAR) + " " * (_BAR - round(score * _BAR)), style=style).append("  ")

    def _first(self, line: "Text", label: str, score: Any) -> None:
        from rich.cells import cell_len, set_cell_size

        shown = visible(label)
        self._width = max(self._width, min(cell_len(shown), _LABEL))
        line.append(set_cell_size(shown, self._width), style=f"bold {self._colour(label)}")
        if _is_share(score):
            self._bar(line, score, self._colour(label))
        elif score is not None:
            line.append(f" {self._shown(score)}  ")
        else:
            line.append("  ")

    def _colour(self, label: str) -> str:
        """The same colour for a label all along: the next of the palette when it is first seen."""
        return self._colours.setdefault(label, _PALETTE[len(self._colours) % len(_PALETTE)])

    def _shown(self, value: Any) -> str:
        """A value in one line, and no more of it than could fit."""
        if isinstance(value, str):
            return visible(value[: 4 * self._console.width])
        return f"{value:.4g}" if isinstance(value, float) else visible(json_text(value)[: 4 * self._console.width])

    def _printed(self, line: "Text") -> str:
        with self._console.capture() as capture:
            self._console.print(line, soft_wrap=True)
        return capture.get()


def formatter(terminal: TextIO | None, optional: Sequence[str]) -> RichFormatter:
    """See writers.Formatter."""
    return RichFormatter(terminal)


def _findings(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    """Take the labels and scores out of the fields: those given first, then the others of `top` and `scores`."""
    found = _given(fields)
    for name in ("top", "scores"):
        pairs = _pairs(fields.get(name))
        if pairs:
            del fields[name]
            said = {label for label, _ in found}
            found += [pair for pair in pairs if pair[0] not in said]
    return found


def _given(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(fields.get("label", 0), str | None):  # None: no label reached the threshold
        return [(fields.pop("label") or "none", fields.pop("score", None))]
    pairs = _pairs(fields.get("labels"))
    if pairs is None:
        return []
    del fields["labels"]
    scores = fields.pop("label_scores", None) or [score for _, score in pairs]
    return [(label, score) for (label, _), score in zip(pairs, scores, strict=False)] or [("none", None)]


def _pairs(value: Any) -> list[tuple[str, Any]] | None:
    """[{"label": "a", "score": 0.9}, "b"] or {"a": 0.9, "b": None} -> [("a", 0.9), ("b", None)]; else None."""
    if isinstance(value, Mapping):
        return list(value.items())
    pairs: list[tuple[str, Any]] = []
    for item in value if isinstance(value, list) else [None]:
        label, score = (item.get("label"), item.get("score")) if isinstance(item, Mapping) else (item, None)
        if not isinstance(label, str):
            return None
        pairs.append((label, score))
    return pairs


def _is_entities(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, Mapping) and {"type", "text"} <= item.keys() for item in value
    )


def _is_guesses(value: Any) -> bool:
    """Lists of {"token", "score"}, a list for each mask."""
    return isinstance(value, list) and all(
        isinstance(guess, Mapping) and {"token", "score"} <= guess.keys()
        for guesses in value
        for guess in (guesses if isinstance(guesses, list) else [None])
    )


def _places(text: str, parts: Sequence[tuple[str, Any]]) -> list[int]:
    """Where the parts are that begin at the given offsets, in the unit in which all do; else the next after another."""
    for encoding, size in UNITS:
        raw = text.encode(encoding, "surrogatepass")
        if all(isinstance(start, int) for _, start in parts):
            places = [len(raw[: size * start].decode(encoding, "replace")) for _, start in parts]
            if all(text.startswith(part, place) for (part, _), place in zip(parts, places, strict=True)):
                return places
    places, place = [], 0
    for part, _ in parts:
        places.append(max(text.find(part, place), place))
        place = places[-1] + len(part)
    return places


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _percent(score: Any) -> str:
    return f" {score:.1%}" if _is_share(score) else ""

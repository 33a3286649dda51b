"""An explanation for people: the text coloured by what each word added, the words that added most, and the sum.

Green words speak for the decision, magenta ones against it; the figures say the same without colour.
Knows the form of a result, and no task. Try: bertcli explain "a gripping film" --format rich
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from bertcli.data.terminal import visible

MOST = 10  # words that are listed
BAR, WORD = 24, 24  # widths in cells
FOR, AGAINST = "green", "magenta"


def render(console: Console, result: Mapping[str, Any]) -> None:
    """Print what explains one record, and its attention if it is there."""
    for explanation in result["explanations"]:
        for line in _explanation(explanation, result, console.width):
            console.print(line)
        console.print()
    if not result["explanations"]:
        console.print(
            Text("no entity was found; --target TYPE explains the word that is nearest to one\n", style="bold")
        )
    windows = result.get("attention", ())
    for i, window in enumerate(windows):
        for line in _attention(window, f", window {i + 1}" if len(windows) > 1 else "", console.width):
            console.print(line, overflow="ellipsis", no_wrap=True)
        console.print()


def _explanation(explanation: Mapping[str, Any], result: Mapping[str, Any], width: int) -> Iterator[Text]:
    """What was decided and how surely, the text in colours, the words that added most, and what the sum leaves open."""
    number = ".2%" if explanation["unit"] == "log-odds" else ".4g"
    headline = Text(visible(explanation["target"]), style="bold")
    if "text" in explanation:
        headline.append(f"  {visible(explanation['text']) or 'no answer'}", style="bold cyan")
    headline.append(f"  {explanation['score']:{number}}", style="bold")
    yield headline.append(f"  predict: {explanation['predict_score']:{number}}", style="dim")

    words = explanation["words"]
    most = max((abs(word["attribution"]) for word in words), default=0.0)
    for name, parts in groupby(words, key=lambda word: word.get("field", "")):
        yield _coloured(parts, f"{name}: " if name else "", most)
    yield from _ranked_words(words, most, width)

    baseline = f"with {result['baseline']} for every piece" if words else "there is nothing to attribute"
    unit = "" if explanation["unit"] == "value" else " log-odds"
    yield Text(
        f"  sum {explanation['sum']:+.2f}{unit}, {explanation['error']:.1%} off in {explanation['steps']} steps: "
        f"{explanation['value']:.2f},\n  and {explanation['baseline_value']:.2f} {baseline}",
        style="dim",
    )
    if not explanation["complete"]:
        yield Text("  the sum is more than 1 % off: take the attributions as rough", style="yellow")
    if result.get("windows", 1) > 1:
        yield Text(f"  the text has {result['windows']} windows; a word in two of them has the sum", style="dim")
    if result.get("truncated"):
        yield Text("  the text is truncated: what comes after was not read", style="yellow")


def _coloured(words: Iterable[Mapping[str, Any]], name: str, most: float) -> Text:
    """The words, a space where the text had something between them, in shades of share of the greatest attribution."""
    line, end = Text(name, style="dim"), None
    for word in words:
        if end is not None and word["start"] > end:
            line.append(" ", style="not dim")
        end, value = word["end"], word["attribution"]
        share, colour = (abs(value) / most if most else 0.0), FOR if value > 0 else AGAINST
        shades = ((0.6, f"reverse bold {colour}"), (0.3, f"bold {colour}"))  # three steps that every terminal has
        style = next((shade for least, shade in shades if share > least), "" if share < 0.1 else colour)
        line.append(visible(word["text"]), style=f"not dim {style}")
    return line


def _ranked_words(words: Sequence[Mapping[str, Any]], most: float, width: int) -> Iterator[Text]:
    """The words that added most, with bars where there is room, and what all others added together."""
    ranked = sorted(words, key=lambda word: -abs(word["attribution"]))
    others = ranked[MOST:]
    rest = f"{len(others)} more" if others else ""
    size = max(cell_len(rest), *(min(cell_len(visible(word["text"])), WORD) for word in ranked[:MOST]), 0)
    bar = max(0, min(BAR, width - size - len(f"   {0:+8.2f} ")))
    for word in ranked[:MOST]:
        value = word["attribution"]
        line = Text(f"  {set_cell_size(visible(word['text']), size)} {value:+8.2f} ")
        yield line.append("█" * round(abs(value) / most * bar) if most else "", style=FOR if value > 0 else AGAINST)
    if others:
        total = sum(word["attribution"] for word in others)
        yield Text(f"  {set_cell_size(rest, size)} {total:+8.2f}", style="dim")


def _attention(window: Mapping[str, Any], where: str, width: int) -> Iterator[Text]:
    """A line for each head with what its tokens look at on average; for a single head a line for each token."""
    matrices = window["matrices"]
    tokens = [  # those that come again have their number
        visible(token) if window["tokens"].count(token) == 1 else f"{visible(token)}@{i + 1}"
        for i, token in enumerate(window["tokens"])
    ]
    if len(matrices) == 1:
        (matrix,) = matrices
        yield Text(f"attention of layer {matrix['layer']}, head {matrix['head']}{where}: each token looks at", "bold")
        size = min(max(map(cell_len, tokens)), WORD)
        rows = [(f"  {set_cell_size(token, size)} ", row) for token, row in zip(tokens, matrix["weights"], strict=True)]
    else:
        yield Text(f"attention by layer.head{where}: what its tokens look at on average", style="bold")
        rows = [(f"  {matrix['layer']:>2}.{matrix['head']:<2} ", matrix["weights"].mean(0)) for matrix in matrices]
    for head, weights in rows:  # as many tokens as fit, the greatest weight first
        line = Text(head, style="dim")
        for weight, token in sorted(zip(weights, tokens, strict=True), key=lambda pair: -pair[0]):
            shown = f" {token} {weight:.0%} "
            if line.cell_len + cell_len(shown) > width or weight < 0.005:
                break
            line.append(shown, style="not dim " + ("reverse" if weight >= 0.5 else "bold" if weight >= 0.2 else ""))
        yield line

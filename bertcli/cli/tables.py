"""Metrics, evaluations and explanations for people. Knows the shapes of values, not the metrics of a task.

A number is a row of the first table; `{"labels": [...], "matrix": [[...]]}` is a confusion matrix, rows gold, columns
predicted; any other mapping is a table of its own. Of an explanation the words are coloured: green ones speak for the
decision, magenta ones against it; the figures say the same without colour. Imported only where people look: rich is
slow. Try: bertcli evaluate dev.jsonl --format rich
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bertcli.data import visible

if TYPE_CHECKING:
    from bertcli.evaluation import Evaluation

MATRIX_CLASSES = 30  # the most that a matrix shows; the eye finds nothing in a larger one
PAIRS = 10
LABEL_CELLS = 30  # the width at which a label is cut
WIDEST = 10_000  # cells: asks rich how wide a table would like to be
MISTAKES = 5
LONG = 20  # rows of a table, after which the headline has left the screen and comes again
LEAST_P = 0.0001  # what four decimals show
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # thresholds that the table shows of a curve
MOST = 10  # words that are listed
BAR, WORD = 24, 24  # widths in cells
FOR, AGAINST = "green", "magenta"


def render(console: Console, metrics: Mapping[str, Any], title: str) -> None:
    """Print numbers, tables and matrices, in this order, those of a shape in the order of `metrics`."""
    blocks = [(title, _table({name: value for name, value in metrics.items() if not isinstance(value, Mapping)}))]
    matrices = []
    for name, value in metrics.items():
        if isinstance(value, Mapping) and value.keys() == {"labels", "matrix"}:
            caption, table = _confusion(console, **value)
            matrices.append((f"{name}: {caption}", table))
        elif isinstance(value, Mapping) and value:
            blocks.append((name, _table(value)))
    for i, (name, table) in enumerate([*blocks, *matrices]):
        if i:
            console.print()
        console.print(plain(name, style="bold"))
        console.print(table)


def _table(value: Mapping[str, Any]) -> Table:
    """A row per entry: its columns where each entry is a mapping of them, else its value alone, without a header."""
    has_columns = bool(value) and all(isinstance(row, Mapping) for row in value.values())
    rows = value if has_columns else {label: {"": entry} for label, entry in value.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row)) if has_columns else [""]
    table = _empty(["", *columns])
    table.show_header = has_columns
    for label, row in rows.items():
        cells = [_cell(row.get(column)) for column in columns]
        if not has_columns:  # The only one has room below itself, and what is cut would be lost.
            cells[0].no_wrap, cells[0].overflow = False, "fold"
        table.add_row(_label(label), *cells)
    return table


def _confusion(console: Console, labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> tuple[str, Table]:
    """The first that fits, with its caption: names over the columns, numbers over them, the most frequent errors."""
    if len(labels) <= MATRIX_CLASSES:
        numbers = [str(i) for i in range(len(labels))]
        numbered = [f"{i} {label}" for i, label in enumerate(labels)]
        for rows, columns in ((labels, labels), (numbered, numbers)):
            table = _empty(["", *columns])
            for i, (label, counts) in enumerate(zip(rows, matrix, strict=True)):
                styles = ["bold green" if i == j else "" if count else "dim" for j, count in enumerate(counts)]
                cells = [plain(str(count), style=style) for count, style in zip(counts, styles, strict=True)]
                table.add_row(_label(label), *cells)
            wish = console.measure(table, options=console.options.update(max_width=WIDEST))
            if wish.maximum <= console.width:
                return "rows gold, columns predicted", table
    size = range(len(labels))
    errors = [(matrix[i][j], i, j) for i in size for j in size if i != j and matrix[i][j]]
    errors.sort(key=lambda error: -error[0])
    table = _empty(["gold", "predicted", "count"])
    table.columns[1].justify = "left"
    for count, i, j in errors[:PAIRS]:
        table.add_row(_label(labels[i]), _label(labels[j]), _cell(count))
    return f"the most frequent errors among {len(labels)} classes", table


def _empty(columns: Sequence[str]) -> Table:
    """A table without rows; the first column holds names. On a narrow terminal the widest column gives way first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(_label(column), justify="right" if i else "left")
    return table


def _cell(value: Any) -> Text:
    return plain("-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value))


def _label(name: object) -> Text:
    text = plain(str(name))
    text.truncate(LABEL_CELLS, overflow="ellipsis")
    return text


def plain(text: str, style: str = "") -> Text:
    """One line of text as it is: neither rich's markup nor a terminal's control codes in a label are obeyed."""
    return Text(visible(text, mask=True), style, no_wrap=True, overflow="ellipsis")


# An evaluation: metrics with intervals, classes, lengths, reliability, mistakes, what changed.


def render_evaluation(console: Console, evaluation: "Evaluation") -> None:
    """Print all that an evaluation found, its surest mistakes last: of each list the first few, a line each."""
    render(console, _blocks(evaluation), evaluation.model)
    lists = {"surest mistakes (--errors FILE lists all)": evaluation.mistakes}
    comparison = evaluation.comparison
    if comparison and comparison.mcnemar_p is not None:
        changes = {"fixed": comparison.fixed, "broken": comparison.broken}
        lists = {name: [change.example for change in changed] for name, changed in changes.items()} | lists
    for title, examples in lists.items():
        if not examples:
            continue
        console.print()
        console.print(plain(f"{title}: {len(examples):,}", style="bold"))
        for example in examples[:MISTAKES]:
            score = "" if example.score is None else f"  {example.score:.4f}"
            # What is right and what was predicted: a label, answers, or of tags the entities that they spell.
            sides = ((example.gold, example.gold_marks), (example.predicted, example.predicted_marks))
            are_tags = all(isinstance(value, list) for value, _ in sides) and any(marks for _, marks in sides)
            spelt = []
            for value, marks in sides:
                shown = [f"{mark.type} {example.text[mark.start : mark.end]}" for mark in marks] if are_tags else value
                spelt.append(", ".join(dict.fromkeys(map(str, shown))) if isinstance(shown, list) else str(shown))
            gold, predicted = (text or "none" for text in spelt)
            texts = "  ".join(" ".join(text.split()) for text in (example.pair, example.text) if text)
            line = plain(f" {example.record.location}{score}  {gold} → {predicted}  {texts}")
            console.print(line, no_wrap=True, overflow="ellipsis")
    if any(len(value) > LONG for value in evaluation.metrics.values() if isinstance(value, Mapping)):
        # The metric that decides, with its interval, on how many records.
        value, interval = evaluation.metrics.get(evaluation.metric), evaluation.intervals.get(evaluation.metric)
        shown = f"{value:.4f}" if isinstance(value, float) else "-"
        bounds = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
        console.print()
        console.print(plain(f"{evaluation.metric} {shown}{bounds} on {evaluation.records:,} records", style="bold"))


def _blocks(evaluation: "Evaluation") -> dict[str, Any]:
    """Named blocks as `render` takes them."""
    metrics, intervals = evaluation.metrics, evaluation.intervals
    numbers = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    temperature = evaluation.calibration.get("temperature")
    blocks: dict[str, Any] = {
        "records": evaluation.records,
        **({} if temperature is None else {"calibrated, temperature": temperature}),
        **{name: value for name, value in numbers.items() if name not in intervals},
        "with 95 % bootstrap intervals": {
            name: {"value": numbers[name], "from": interval.low, "to": interval.high}
            for name, interval in intervals.items()
            if name in numbers
        },
    }
    if evaluation.exit:
        blocks["early exit"] = evaluation.exit
    if comparison := evaluation.comparison:
        title = f"compared with {comparison.other}"
        if comparison.mcnemar_p is not None:
            changed = f"{len(comparison.fixed):,} fixed, {len(comparison.broken):,} broken"
            chance = f"{comparison.mcnemar_p:.4f}" if comparison.mcnemar_p >= LEAST_P else f"under {LEAST_P}"
            title += f": {changed}, McNemar's p {chance}"
        blocks[title] = {
            name: {
                "difference": change.value, "from": change.interval.low, "to": change.interval.high, "p": change.p_value
            }
            for name, change in comparison.differences.items()
        }  # fmt: skip
    blocks |= {name: value for name, value in metrics.items() if isinstance(value, Mapping)}
    blocks["by length in tokens"] = {
        f"{bucket.low:,} to {bucket.high:,}": {evaluation.metric: bucket.value, "records": bucket.count}
        for bucket in evaluation.lengths
    }
    reliability, curve = evaluation.reliability, evaluation.curve
    if reliability and curve:
        blocks[f"reliability of scores: ECE {reliability.ece:.4f}"] = {
            f"{part.low:.2f} to {part.high:.2f}": {
                "mean score": part.confidence, "right": part.accuracy, reliability.items: part.count
            }
            for part in reliability.bins
        }  # fmt: skip
        # Where a curve does not change it has no point: the last one before the threshold holds.
        points = {cut: max(i for i, low in enumerate(curve.thresholds) if low <= cut or not i) for cut in CUTS}
        blocks[f"only {curve.items} that score at least"] = {
            f"{cut:.2f}": {"precision": curve.precision[i], "recall": curve.recall[i], "f1": curve.f1[i]}
            for cut, i in points.items()
        }
    return blocks


# An explanation: the text coloured by what each word added, the words that added most, and the sum.


def render_explanation(console: Console, result: Mapping[str, Any]) -> None:
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
        # A space where the text had something between two words; shades of the share of the greatest attribution.
        line, end = Text(f"{name}: " if name else "", style="dim"), None
        for word in parts:
            if end is not None and word["start"] > end:
                line.append(" ", style="not dim")
            end, value = word["end"], word["attribution"]
            share, colour = (abs(value) / most if most else 0.0), FOR if value > 0 else AGAINST
            shades = ((0.6, f"reverse bold {colour}"), (0.3, f"bold {colour}"))  # three steps that every terminal has
            style = next((shade for least, shade in shades if share > least), "" if share < 0.1 else colour)
            line.append(visible(word["text"]), style=f"not dim {style}")
        yield line
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
    if "predict_layers" in explanation:
        yield Text(f"  predict computed {explanation['predict_layers']} layers; the sum is of all layers", style="dim")
    if result.get("truncated"):
        yield Text("  the text is truncated: what comes after was not read", style="yellow")


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

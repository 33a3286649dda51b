"""Labels that are rare, much alike, unevenly spread or of two kinds. Knows label names and targets, no format."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import partial
from itertools import takewhile
from statistics import fmean
from typing import Any

from bertcli.checking.findings import Findings
from bertcli.checking.split import Example, Split
from bertcli.training.problem import INTEGER, TOKENS, Decision, is_decimal

FEW = 5  # training records under which a label can hardly be learnt
UNEVEN = 10  # times as many records as the rarest label: from here on the rare ones are seldom predicted
FREQUENT = 20  # times as many records as a label that may be a typo of it
ALIKE = 0.8  # difflib's ratio: one letter of five wrong, or two of ten
NEARLY_ALL = 0.9  # share of labels of one kind from which on those of another look like mistakes


def names(gold: Any, decision: Decision) -> list[str]:
    """The labels of a target by name, as often as it has them: one, several, or the types of its entities."""
    labels = decision.labels
    match decision.problem:
        case "single_label_classification":
            return [labels[gold]]
        case "multi_label_classification":
            return [labels[i] for i in gold]
        case "token_classification":
            return [labels[i][2:] for i in gold.tags if i >= 0 and labels[i][0] == "B"] + list(gold.lost)
        case "question_answering":
            return ["answer" if gold.answers else "no answer"]
    return []


def counts(split: Split, decision: Decision) -> Counter[str]:
    """How often a split has each label."""
    return Counter(name for example in split.examples for name in names(example.gold, decision))


def table(splits: Sequence[Split], decision: Decision) -> dict[str, dict[str, Any]]:
    """How often each split has each label, the most frequent first; of numbers the least, mean and greatest."""
    if decision.problem in ("regression", "similarity"):
        numbers = {split.name: [float(own.gold) for own in split.examples] for split in splits if split.examples}
        kinds: dict[str, Callable[[list[float]], float]] = {"least": min, "mean": fmean, "greatest": max}
        return {kind: {name: value(own) for name, own in numbers.items()} for kind, value in kinds.items()}
    found = {split.name: counts(split, decision) for split in splits}
    ranked = [name for name, _ in sum(found.values(), Counter[str]()).most_common()]
    return {name: {split: own[name] for split, own in found.items()} for name in ranked}


def check(splits: Sequence[Split], decision: Decision, findings: Findings) -> None:
    """Look at the labels of train, and of dev where there is one."""
    train, dev = splits[0], (splits[1] if len(splits) > 1 else None)
    if decision.problem not in ("single_label_classification", "multi_label_classification", TOKENS):
        return
    found = counts(train, decision)
    typos = dict(_typos(found))
    rare = {name for name in found.keys() - typos.keys() if found[name] < FEW}
    for example in train.examples:
        for name in dict.fromkeys(names(example.gold, decision)):
            if name in typos:
                other = typos[name]
                findings.add("label-typo", example.record.location, f"'{name}' {_times(found, name, other)}")
            elif name in rare:
                rare.remove(name)  # its first place is enough
                findings.add("rare-label", example.record.location, f"'{name}' has {found[name]} of {found.total():,}")
    _check_balance(train, found, findings)
    if dev and dev.examples:
        for name in sorted(found.keys() - typos.keys() - counts(dev, decision).keys()):
            findings.add("label-not-in-dev", dev.place, f"'{name}', of which train has {found[name]:,}")


def _times(found: Counter[str], name: str, other: str) -> str:
    return f"has {found[name]:,}, '{other}' has {found[other]:,}"


def _is_frequent(found: Counter[str], least: float, name: str) -> bool:
    return found[name] >= least


def _typos(found: Counter[str]) -> Iterator[tuple[str, str]]:
    """Labels, each with a more frequent one that it may be meant for."""
    ranked = [name for name, _ in found.most_common()]
    usual: dict[str, str] = {}  # of the labels that differ in case, spaces and marks only, the most frequent
    for name in ranked:
        frequent = takewhile(partial(_is_frequent, found, FREQUENT * found[name]), ranked)
        alike = [(_ratio(name, other), other) for other in frequent if not _numbers_differ(name, other)]
        if (other := usual.setdefault(_bare(name), name)) != name:
            yield name, other
        elif alike and max(alike)[0] >= ALIKE:
            yield name, max(alike)[1]


def _numbers_differ(name: str, other: str) -> bool:
    """class_1 and class_2 are no typos of each other."""
    return any(character.isdigit() for character in (Counter(name) - Counter(other)) + (Counter(other) - Counter(name)))


def _ratio(name: str, other: str) -> float:
    matcher = SequenceMatcher(None, name.casefold(), other.casefold(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= ALIKE <= matcher.quick_ratio() else 0.0


def _bare(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _check_balance(train: Split, found: Counter[str], findings: Findings) -> None:
    ranked = [(name, count) for name, count in found.most_common() if count >= FEW]
    if len(ranked) > 1 and ranked[0][1] >= UNEVEN * ranked[-1][1]:
        most, least = ranked[0], ranked[-1]
        findings.add(
            "imbalance", train.place, f"'{most[0]}' has {most[1]:,}, '{least[0]}' has {least[1]:,} of {found.total():,}"
        )


def check_kinds(examples: Sequence[Example], field: str, findings: Findings) -> None:
    """One that is no list, or has no decimal point, among labels that are or have: it makes classes of them all."""
    kinds = [(example, _kind(example.record.fields.get(field))) for example in examples]
    found = Counter(kind for _, kind in kinds)
    usual = max(("list", "decimal number"), key=lambda kind: found[kind])
    least = max(NEARLY_ALL * (len(kinds) - found["integer"]), len(kinds) / 2)  # 4 among 3.5 and 2.25 is not rare
    if not least <= found[usual] < len(kinds):
        return
    for example, kind in kinds:
        if kind != usual:
            shown = f"{example.record.fields.get(field)!r:.60}"
            message = f"{shown} is a {kind}" if kind != "integer" else f"{shown} is an integer"
            findings.add(
                "mixed-labels", example.record.location, f"{message}, {found[usual]:,} of {len(kinds):,} are a {usual}"
            )


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    if is_decimal(value):
        return "decimal number"
    return "integer" if INTEGER.fullmatch(str(value)) else "name"

"""Labels that are rare, much alike or unevenly spread. Knows label names and their numbers, no task and no format."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from statistics import fmean
from typing import Any

from bertcli.checking.findings import Findings
from bertcli.checking.split import Split
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import Decision

FEW = 5  # training records under which a label can hardly be learnt
UNEVEN = 10  # times as many records as the rarest label: from here on the rare ones are seldom predicted
FREQUENT = 20  # times as many records as a label that may be a typo of it
ALIKE = 0.8  # difflib's ratio: one letter of five wrong, or two of ten


def count(split: Split, task: BaseTask) -> Counter[str]:
    """How often a split has each label."""
    return Counter(name for example in split.examples for name in task.label_names(example.gold))


def table(splits: Sequence[Split], task: BaseTask, decision: Decision) -> dict[str, dict[str, Any]]:
    """How often each split has each label, the most frequent first; of numbers the least, mean and greatest."""
    if decision.is_number:
        numbers = {s.name: [float(example.gold) for example in s.examples] for s in splits if s.examples}
        functions: dict[str, Callable[[list[float]], float]] = {"least": min, "mean": fmean, "greatest": max}
        return {name: {split: of(golds) for split, golds in numbers.items()} for name, of in functions.items()}
    counts = {split.name: count(split, task) for split in splits}
    ranked = [name for name, _ in sum(counts.values(), Counter[str]()).most_common()]
    return {name: {split: count[name] for split, count in counts.items()} for name in ranked}


def check(splits: Sequence[Split], task: BaseTask, findings: Findings) -> None:
    """Look at the labels of train, and of dev where there is one."""
    train, dev = splits[0], (splits[1] if len(splits) > 1 else None)
    counts = count(train, task)
    typos = dict(_typos(counts))
    rare = {name for name in counts.keys() - typos.keys() if counts[name] < FEW}
    for example in train.examples:
        for name in dict.fromkeys(task.label_names(example.gold)):
            if name in typos:
                other = typos[name]
                message = f"'{name}' has {counts[name]:,}, '{other}' has {counts[other]:,}"
                findings.add("label-typo", example.record.location, message)
            elif name in rare:
                rare.remove(name)  # its first record is enough
                findings.add(
                    "rare-label", example.record.location, f"'{name}' has {counts[name]} of {counts.total():,}"
                )
    ranked = [(name, number) for name, number in counts.most_common() if number >= FEW]
    if len(ranked) > 1 and ranked[0][1] >= UNEVEN * ranked[-1][1]:
        (most, many), (least, few) = ranked[0], ranked[-1]
        message = f"'{most}' has {many:,}, '{least}' has {few:,} of {counts.total():,}"
        findings.add("imbalance", train.files, message)
    if dev and dev.examples:
        for name in sorted(counts.keys() - typos.keys() - count(dev, task).keys()):
            findings.add("label-not-in-dev", dev.files, f"'{name}', of which train has {counts[name]:,}")


def _typos(counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """Labels, each with a more frequent one that it may be meant for."""
    ranked = counts.most_common()
    usual: dict[str, str] = {}  # of the labels that differ in case, spaces and marks only, the most frequent
    for name, number in ranked:
        least = FREQUENT * number
        frequent = [other for other, _ in takewhile(lambda pair: pair[1] >= least, ranked)]  # noqa: B023
        alike = [(_ratio(name, other), other) for other in frequent if not _numbers_differ(name, other)]
        bare = "".join(character for character in name.casefold() if character.isalnum()) or name
        if (other := usual.setdefault(bare, name)) != name:
            yield name, other
        elif alike and max(alike)[0] >= ALIKE:
            yield name, max(alike)[1]


def _numbers_differ(name: str, other: str) -> bool:
    """class_1 and class_2 are no typos of each other."""
    return any(character.isdigit() for character in (Counter(name) - Counter(other)) + (Counter(other) - Counter(name)))


def _ratio(name: str, other: str) -> float:
    matcher = SequenceMatcher(None, name.casefold(), other.casefold(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= ALIKE <= matcher.quick_ratio() else 0.0

"""Records that repeat others, in their split or from train to dev, and empty ones. Knows texts and targets only."""

from collections.abc import Sequence

from bertcli.checking.duplicates import Parts, near
from bertcli.checking.findings import Findings
from bertcli.checking.split import Example, Split
from bertcli.tasks.base import BaseTask

Seen = dict[Parts, list[Example]]  # of each text the first record with each label


def check(splits: Sequence[Split], task: BaseTask, findings: Findings) -> None:
    """Note empty texts, and equal and nearly equal ones within and across splits, train before dev."""
    seen: Seen = {}
    train = 0
    for split in splits:
        in_split: Seen = {}
        for example in split.examples:
            if not all(text.strip() for text in example.texts):
                findings.add("empty-text", example.record.location, _quoted(example))
                continue
            _compare(example, in_split, task, findings, "duplicate")
            _compare(example, seen, task, findings, "leak")
            _remember(example, in_split, task)
        for example in (example for same in in_split.values() for example in same):
            _remember(example, seen, task)
        train = len(seen) if split is splits[0] else train
    _check_near([same[0] for same in seen.values()], train, findings)
    if task.shared_text and len(splits) > 1:
        _check_shared(splits[0], splits[1], findings)


def _at(other: Example, example: Example) -> str:
    """Where a record is, as seen from another."""
    return f"line {other.record.line}" if other.record.source == example.record.source else other.record.location


def _quoted(example: Example) -> str:
    return " / ".join(f"'{text:.40}'" for text in example.texts)


def _remember(example: Example, seen: Seen, task: BaseTask) -> None:
    same = seen.setdefault(example.texts, [])
    if all(not task.agree(example.gold, other.gold) for other in same):
        same.append(example)


def _compare(example: Example, seen: Seen, task: BaseTask, findings: Findings, code: str) -> None:
    """Note that a text came before, and never with its label; of two in one split that says enough."""
    if not (others := seen.get(example.texts)):
        return
    same = next((other for other in others if task.agree(example.gold, other.gold)), None)
    other = same or others[0]
    message = f"{_at(other, example)}: {_quoted(example)}"
    if same or code == "leak":
        findings.add(code, example.record.location, f"as {message}")
    if not same:
        findings.add("conflicting-label", example.record.location, f"another label than {message}")


def _check_near(examples: Sequence[Example], train: int, findings: Findings) -> None:
    """Look at the first record of each text, of which the first `train` are in that split."""
    for i, j, similarity in near([example.texts for example in examples]):
        example, other = examples[i], examples[j]
        code = "near-leak" if j < train <= i else "near-duplicate"
        findings.add(code, example.record.location, f"{similarity:.2f} like {_at(other, example)}: {_quoted(example)}")


def _check_shared(train: Split, dev: Split, findings: Findings) -> None:
    """Records that share their second text with train, such as a context, though not the first, such as a question."""
    contexts = {example.texts[1]: example for example in reversed(train.examples)}
    pairs = {example.texts for example in train.examples}
    for example in dev.examples:
        other = contexts.get(example.texts[1])
        if other and example.texts not in pairs:
            message = f"the context of {_at(other, example)}: '{example.texts[0]:.60}'"
            findings.add("leaked-context", example.record.location, message)

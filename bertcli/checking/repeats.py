"""Records that repeat others, in their split or from train to dev, and empty ones. Knows texts and targets only."""

from collections.abc import Sequence

from bertcli.checking.duplicates import Parts, near
from bertcli.checking.findings import Findings
from bertcli.checking.split import Example, Split
from bertcli.tasks.question_answering import Gold

Seen = dict[Parts, list[Example]]  # of each text the first record with each label


def check(splits: Sequence[Split], task: str, findings: Findings) -> None:
    """Note empty texts, and equal and nearly equal ones within and across splits, train before dev."""
    seen: Seen = {}
    train = 0
    for split in splits:
        own: Seen = {}
        for example in split.examples:
            if not all(text.strip() for text in example.texts):
                findings.add("empty-text", example.record.location, _told(example))
                continue
            _compare(example, own, findings, "duplicate")
            _compare(example, seen, findings, "leak")
            _remember(example, own)
        for example in (example for same in own.values() for example in same):
            _remember(example, seen)
        train = len(seen) if split is splits[0] else train
    _check_near([same[0] for same in seen.values()], train, findings)
    if task == "question-answering" and len(splits) > 1:
        _check_contexts(splits[0], splits[1], findings)


def _at(other: Example, example: Example) -> str:
    """Where a record is, as seen from another."""
    return f"line {other.record.line}" if other.record.source == example.record.source else other.record.location


def _told(example: Example) -> str:
    return " / ".join(f"'{text:.40}'" for text in example.texts)


def _agree(one: Example, other: Example) -> bool:
    """Whether two labels of a text go together: two annotators may give two of several right answers."""
    if isinstance(one.gold, Gold):
        return not (one.gold.answers or other.gold.answers) or not set(one.gold.answers).isdisjoint(other.gold.answers)
    return bool(one.gold == other.gold)


def _remember(example: Example, seen: Seen) -> None:
    same = seen.setdefault(example.texts, [])
    if all(not _agree(example, other) for other in same):
        same.append(example)


def _compare(example: Example, seen: Seen, findings: Findings, code: str) -> None:
    """Note that a text came before, and never with its label; of two in one split that says enough."""
    if not (others := seen.get(example.texts)):
        return
    place = example.record.location
    same = next((other for other in others if _agree(example, other)), None)
    other = same or others[0]
    if same or code == "leak":
        findings.add(code, place, f"as {_at(other, example)}: {_told(example)}")
    if not same:
        findings.add("conflicting-label", place, f"another label than {_at(other, example)}: {_told(example)}")


def _check_near(examples: Sequence[Example], train: int, findings: Findings) -> None:
    """Look at the first record of each text, of which the first `train` are in that split."""
    for i, j, similarity in near([example.texts for example in examples]):
        example, other = examples[i], examples[j]
        code = "near-leak" if j < train <= i else "near-duplicate"
        findings.add(code, example.record.location, f"{similarity:.2f} like {_at(other, example)}: {_told(example)}")


def _check_contexts(train: Split, dev: Split, findings: Findings) -> None:
    """Questions that share a context with train, though not the question."""
    contexts = {example.texts[1]: example for example in reversed(train.examples)}
    asked = {example.texts for example in train.examples}
    for example in dev.examples:
        other = contexts.get(example.texts[1])
        if other and example.texts not in asked:
            message = f"the context of {_at(other, example)}: '{example.texts[0]:.60}'"
            findings.add("leaked-context", example.record.location, message)

"""Records that repeat others, in their split or from train to dev, and empty ones. Knows texts and targets, no format."""

from collections.abc import Sequence

from bertcli.engine.checking.duplicates import Parts, near
from bertcli.engine.checking.findings import Findings
from bertcli.engine.checking.split import Example, Split

Seen = dict[Parts, tuple[Split, Example]]


def check(splits: Sequence[Split], task: str, findings: Findings) -> None:
    """Note empty texts, and equal and nearly equal ones within and across splits, train before dev."""
    seen: Seen = {}
    for split in splits:
        own: Seen = {}
        for example in split.examples:
            if not all(text.strip() for text in example.texts):
                findings.add("empty-text", example.record.place, _told(example))
                continue
            _compare(example, own, findings, "duplicate")
            _compare(example, seen, findings, "leak")
            own.setdefault(example.texts, (split, example))
        seen |= {texts: first for texts, first in own.items() if texts not in seen}
    _check_near(seen, findings)
    if task == "question-answering" and len(splits) > 1:
        _check_contexts(*splits, findings)


def _told(example: Example) -> str:
    return " and ".join(f"'{text:.40}'" for text in example.texts)


def _compare(example: Example, seen: Seen, findings: Findings, code: str) -> None:
    """Note that a text came before, and with another label; of two in one split the conflict says enough."""
    if example.texts not in seen:
        return
    place, (_, other) = example.record.place, seen[example.texts]
    if example.gold == other.gold or code == "leak":
        findings.add(code, place, f"as at {other.record.place}: {_told(example)}")
    if example.gold != other.gold:
        findings.add("conflicting-label", place, f"another label than at {other.record.place}: {_told(example)}")


def _check_near(seen: Seen, findings: Findings) -> None:
    texts = list(seen)  # train first
    for i, j, similarity in near(texts):
        (split, example), (earlier, other) = seen[texts[i]], seen[texts[j]]
        code = "near-duplicate" if split is earlier else "near-leak"
        message = f"{similarity:.2f} like {other.record.place}: {_told(example)} and {_told(other)}"
        findings.add(code, example.record.place, message)


def _check_contexts(train: Split, dev: Split, findings: Findings) -> None:
    """Questions that share a context with train, though not the question."""
    contexts = {example.texts[1]: example for example in reversed(train.examples)}
    asked = {example.texts for example in train.examples}
    for example in dev.examples:
        other = contexts.get(example.texts[1])
        if other and example.texts not in asked:
            message = f"the context of {other.record.place}: '{example.texts[0]:.60}'"
            findings.add("leaked-context", example.record.place, message)

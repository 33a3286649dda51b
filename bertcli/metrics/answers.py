"""Extracted answers against those of people: exact match and F1, as the official scripts of SQuAD and CMRC 2018.

SQuAD: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1, and 2018 (arXiv 1806.03822). CMRC: Cui et al. 2019 (arXiv
1810.07366), section 4. Both compare with the likest of the gold answers and take the mean over the questions. Knows no
model: a span's score is a number that it is told.
Try: python -c "from bertcli.metrics import answers; print(answers.normalized('The cat, in a hat!'))"
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any, Literal

import numpy as np

from bertcli.arrays import Flags

Scorer = Callable[[str, str], tuple[float, float]]  # gold and predicted text -> exact match, F1
Language = Literal["auto", "en", "zh"]
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
CJK = re.compile(r"[\u4e00-\u9fa5]")  # the range of the official script
# its list; its "……" is two signs, which match none
CMRC_PUNCTUATION = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"  # noqa: RUF001
CHINESE = 0.2  # share of such characters: Chinese texts have over 0.7, English ones hardly any


def scorer(language: Language, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> Scorer:
    """The comparison of a language; auto: Chinese where the texts are. SQuAD 2.0's where a question has no answer."""
    if language == "auto":
        sample = "".join([*contexts[:1000], *("".join(texts) for texts in answers[:1000])])
        language = "zh" if len(CJK.findall(sample)) > CHINESE * len(sample) else "en"
    if language == "zh":
        return _chinese
    return _english if all(answers) else _english_2


def best(score: Scorer, gold: Sequence[str], predicted: str) -> tuple[float, float]:
    """Exact match and F1 with the likest gold answer; without any both are 1 for a prediction of nothing, else 0."""
    if score is _english_2:  # Its script leaves out answers without a word, and a question without others has none.
        gold = list(filter(normalized, gold))
    pairs = [score(answer, predicted) for answer in gold] or [(score("", predicted)[0],) * 2]
    return max(match for match, _ in pairs), max(f1 for _, f1 in pairs)


def score(values: Sequence[tuple[float, float]], has_answer: Sequence[bool]) -> dict[str, Any]:
    """exact_match and f1 over all, and for questions with and without an answer where there are both.

    values: what the answer to each question is worth, "" where none is given.
    """
    worth, is_answerable = np.asarray(values, np.float64).reshape(-1, 2), np.asarray(has_answer, bool)

    def means(questions: Flags | slice) -> dict[str, Any]:
        return {"exact_match": float(worth[questions, 0].mean()), "f1": float(worth[questions, 1].mean())}

    result = means(slice(None))
    if not is_answerable.all():
        parts = {"answerable": is_answerable, "unanswerable": ~is_answerable}
        result["questions"] = {
            name: means(part) | {"count": int(part.sum())} for name, part in parts.items() if part.any()
        }
    return result


def threshold(
    scores: Sequence[float], values: Sequence[tuple[float, float]], has_answer: Sequence[bool]
) -> float | None:
    """The threshold of greatest F1, between two scores; None where all questions have answers, or all scores are -inf.

    `find_best_thresh` of the SQuAD 2.0 script, in O(n log n) as there.
    """
    is_answerable = np.asarray(has_answer, bool)
    if is_answerable.all() or np.isneginf(scores).all():  # There is nothing to refuse.
        return None
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    gains = (np.asarray(values, np.float64).reshape(-1, 2)[:, 1] - ~is_answerable)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)])
    cuts = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])  # equal scores are answered together
    answered = int(np.flatnonzero(cuts)[np.argmax(totals[cuts])])
    above = ranked[answered - 1] if answered else ranked[0] + 1.0
    below = ranked[answered] if answered < len(ranked) else above - 1.0
    return float(above if not np.isfinite(below) else (above + below) / 2)


def _english(gold: str, predicted: str) -> tuple[float, float]:
    """As SQuAD 1.1's script: texts without a word, as `.`, match exactly, but share no word."""
    gold, predicted = normalized(gold), normalized(predicted)
    words, predicted_words = gold.split(), predicted.split()
    common = (Counter(words) & Counter(predicted_words)).total()
    return float(gold == predicted), _f1(common, len(words), len(predicted_words))


def _english_2(gold: str, predicted: str) -> tuple[float, float]:
    """As SQuAD 2.0's: a gold answer without a word is none."""
    if gold and not normalized(gold):
        return 0.0, 0.0
    return _english(gold, predicted)


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _chinese(gold: str, predicted: str) -> tuple[float, float]:
    """As CMRC's script: F1 over the longest run of segments that both texts have.

    Each Chinese character is one by itself; the text between is cut as NLTK's word tokenizer does it.
    """
    from bertcli.metrics.treebank import words  # for Chinese answers only: its patterns take a while to compile

    plain: list[str] = []
    segments: list[list[str]] = []
    for text in (gold, predicted):
        plain.append("".join(letter for letter in text.lower().strip() if letter not in CMRC_PUNCTUATION))
        parts = filter(None, re.split(rf"({CJK.pattern})", plain[-1]))
        segments.append(list(chain(*([part] if CJK.fullmatch(part) else words(part) for part in parts))))
    match = SequenceMatcher(None, segments[0], segments[1], autojunk=False).find_longest_match()
    return float(plain[0] == plain[1]), _f1(match.size, *map(len, segments))


def _f1(common: int, gold: int, predicted: int) -> float:
    """From counts of words."""
    if not common:
        return 0.0
    precision, recall = common / predicted, common / gold
    return 2 * precision * recall / (precision + recall)

r"""Words as NLTK's `word_tokenize` cuts them, which the official script of CMRC 2018 calls.

The patterns, and their order, are those of NLTK 3.10's `NLTKWordTokenizer` (Copyright NLTK Project, Apache-2.0), which
improves on Robert MacIntyre's script for the Penn Treebank. They are here since a metric needs nothing else of NLTK,
which takes 17 MB with what it brings. NLTK compiles all but the contractions by `regex`, whose spaces and letters are
not quite those of `re`; so does this. Knows no Chinese.
Try: python -c "from bertcli.metrics.treebank import words; print(words('they can\'t pay \$3.88, can they?'))"
"""

import re

import regex

BEFORE = [
    (regex.compile(pattern), replacement)
    for pattern, replacement in (
        # Quotes that open.
        ("([«“‘„]|[`]+)", r" \1 "),  # noqa: RUF001
        (r"^\"", "``"),
        ("(``)", r" \1 "),
        (r"([ \(\[{<])(\"|\'{2})", r"\1 `` "),
        (r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
        # Punctuation; a full stop where it ends the text.
        (r"([^\.])(\.)([\]\)}>\"\'»”’ ]*+)\s*$", r"\1 \2 \3 "),  # noqa: RUF001
        (r"([:,])([^\d])", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"\.{2,}", r" \g<0> "),
        (r"[;@#$%&]", r" \g<0> "),
        (r"[\u2012-\u2015]", r" \g<0> "),
        (r"([^\.])(\.)([\]\)}>\"\']*)\s*$", r"\1 \2\3 "),
        (r"[?!]", r" \g<0> "),
        (r"([^'])' ", r"\1 ' "),
        (r"[*]", r" \g<0> "),
        (r"[\]\[\(\)\{\}\<\>]", r" \g<0> "),
        ("--", " -- "),
    )
]
AFTER = [
    (regex.compile(pattern), replacement)
    for pattern, replacement in (
        # Quotes that close, and what an apostrophe joins to a word.
        ("([»”’])", r" \1 "),  # noqa: RUF001
        ("''", " '' "),
        ('"', " '' "),
        (r"\s+", " "),
        ("([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
        ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
    )
]
CONTRACTIONS = [
    re.compile(rf"(?i){pattern}")
    for pattern in (
        r"\b(can)(not)\b", r"\b(d)('ye)\b", r"\b(gim)(me)\b", r"\b(gon)(na)\b", r"\b(got)(ta)\b", r"\b(lem)(me)\b",
        r"\b(more)('n)\b", r"\b(wan)(na)(?=\s)", " ('t)(is)\\b", " ('t)(was)\\b",
    )
]  # fmt: skip


def words(text: str) -> list[str]:
    """The words and marks of a line; straight quotes are written `` and '' as in the Penn Treebank."""
    for pattern, replacement in BEFORE:
        text = pattern.sub(replacement, text)
    text = f" {text} "
    for pattern, replacement in AFTER:
        text = pattern.sub(replacement, text)
    for contraction in CONTRACTIONS:
        text = contraction.sub(r" \1 \2 ", text)
    return text.split()

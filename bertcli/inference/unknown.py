"""Texts that are mostly unknown to a model: which scripts they are in, and the sentence about all of a run.

Such a text is answered, for one result comes out for each record; but the answer says nothing. Knows no model.
Try: echo สวัสดี | bertcli predict
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

MOSTLY = 0.5  # share of a text's pieces above which a result says that they are unknown
ENOUGH = 200  # characters of a text that tell its script
NAMED = 3  # scripts in the sentence
LANGUAGES = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
SIGNS = "signs"  # the script of a text without letters: emoji, numbers


def scripts(text: str) -> Counter[str]:
    """The letters of a text by their script, or by the language where a script has one, as Unicode names them."""
    names = (unicodedata.name(character, SIGNS).split()[0] for character in text if character.isalpha())
    return Counter(LANGUAGES.get(name, name.title()) for name in names)


def script_of(texts: Iterable[str]) -> str:
    """The script of most letters of texts that are read together. Kana among ideographs make the text Japanese."""
    counts = scripts("".join(text[:ENOUGH] for text in texts))
    return "Japanese" if "Japanese" in counts else max(counts, key=counts.__getitem__, default=SIGNS)


def sentence(counts: Mapping[str, int], records: int) -> str:
    """What to say at the end of a run. counts: its texts that are mostly unknown, by script; records: all of them."""
    likely = sorted(counts, key=lambda script: -counts[script])[:NAMED]
    questions = " ".join(f"{script[0].upper()}{script[1:]}?" for script in likely)
    return f"{sum(counts.values()):,} of {records:,} texts are mostly unknown to this model: {questions}"

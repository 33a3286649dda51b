"""Rules for what has a form of its own: e-mail, URL, IP and phone numbers, IBANs and payment cards, in any text.

What looks like one is checked where that is possible: accounts and cards by their check digits, IP addresses by their
parser, phone numbers by the plan of their country. Full-width letters and digits count as the plain ones; Chinese,
Japanese and Korean letters end an address, since they follow it without a space. Knows no model.
Try: python -c "from bertcli.tasks.token_classification.rules import *; print(find('to a@b.org', ['email'], []))"
"""

import ipaddress
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import regex

from bertcli.tasks.scored import Mark

WIDE = {chr(i): chr(i - 0xFEE0) for i in range(0xFF01, 0xFF5F)}
PLAIN = str.maketrans({wide: char for wide, char in WIDE.items() if char.isalnum() or char in "@.-+/_:"})
# Letters of scripts that part words by spaces, and marks, which may stand alone: e\u0301 for \u00e9.
L = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Devanagari}\p{M}\d"
LABEL = rf"[{L}][{L}-]{{0,62}}+"  # of a domain; RFC 1035 allows 63 characters
PATH = r"[^\s\p{C}<>\"\u00ab\u00bb\u2018-\u201f\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\u3000-\u303f\uff00-\uffef]"
SPACE = r"[ \u00a0\u202f-]?"  # in numbers
# Each repetition has a bound or gives nothing back, else a hostile text would take the square of its length.
EMAIL = regex.compile(rf"[{L}_][{L}_.+%&'~!#$*^-]{{0,63}}@{LABEL}(?:\.{LABEL})+", regex.I)
URL = regex.compile(
    rf"(?<![{L}])(?:[a-z][a-z\d+.-]{{1,20}}://|www\.|(?:{LABEL}\.){{1,8}}+(?:xn--)?[{L}--\d]{{2,63}}+(?::\d+)?/){PATH}+",
    regex.I | regex.V1,
)
IP = regex.compile(
    r"(?<![a-z\d.])(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f]{0,4}(?::[\da-f]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?)", regex.I
)
IBAN = regex.compile(rf"(?<![a-z\d])[a-z]{{2}}\d{{2}}(?:{SPACE}[a-z\d]){{11,30}}", regex.I)
CARD = regex.compile(rf"(?<![a-z\d])[1-6](?:{SPACE}\d){{11,18}}", regex.I)
DIGITS = regex.compile(r"(?:\d[^\d\n]{0,4}){6}")  # no phone number has fewer than six
MARKS = ".,;:!?'*_~|([{"  # that belong to the sentence where a URL ends
Spans = Iterator[tuple[int, int]]


def find(text: str, names: Sequence[str], regions: Sequence[str]) -> list[Mark]:
    """What the rules of these names find, in code points, rule by rule; what two of them find may overlap.

    regions: the countries, as ISO 3166 writes them, whose phone numbers are found without a +.
    """
    plain = text.translate(PLAIN)
    return [Mark(start, end, name.upper()) for name in names for start, end in RULES[name](plain, regions)]


def _emails(text: str, regions: Sequence[str]) -> Spans:
    for match in EMAIL.finditer(text) if "@" in text else ():
        yield match.start(), match.start() + len(match[0].rstrip("-"))


def _urls(text: str, regions: Sequence[str]) -> Spans:
    """A closing bracket belongs to the URL where it has an opening one."""
    for match in URL.finditer(text) if "/" in text or "www." in text.lower() else ():
        marks = MARKS + "".join(close for opens, close in ("()", "[]", "{}") if opens not in match[0])
        yield match.start(), match.start() + len(match[0].rstrip(marks))


def _phones(text: str, regions: Sequence[str]) -> Spans:
    """With a + whatever could be one; without it only what the country has given out, since dates look alike."""
    if DIGITS.search(text):
        from phonenumbers import Leniency, PhoneNumberMatcher

        for region, leniency in ((None, Leniency.POSSIBLE), *((region, Leniency.VALID) for region in regions)):
            for match in PhoneNumberMatcher(text, region, leniency, max_tries=sys.maxsize):
                yield match.start, match.end


def _checked(pattern: "regex.Pattern[str]", check: Callable[[str], bool], text: str, regions: Sequence[str]) -> Spans:
    """The longest beginning of each match that passes the check and ends where a word ends."""
    position = 0
    while match := pattern.search(text, position):
        start, position = match.start(), match.start() + 1
        for end in range(match.end(), start + 1, -1):
            following = text[end : end + 1]
            if not (following.isascii() and following.isalnum()) and check(text[start:end]):
                yield start, end
                position = end
                break


def _is_address(text: str) -> bool:
    """One of hexadecimal letters alone, such as a::b, is program text more often."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(map(str.isdigit, text))


def _is_iban(text: str) -> bool:
    from stdnum import iban

    return iban.is_valid(text)


def _is_card(text: str) -> bool:
    from stdnum import luhn, util

    return luhn.is_valid(util.clean(text, " -"))


RULES: dict[str, Callable[[str, Sequence[str]], Spans]] = {
    "email": _emails,
    "url": _urls,
    "ip": partial(_checked, IP, _is_address),
    "phone": _phones,
    "iban": partial(_checked, IBAN, _is_iban),
    "card": partial(_checked, CARD, _is_card),
}

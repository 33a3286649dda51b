"""What `predict --redact` writes: a text with its entities replaced, and no other text of the record unless named.

Entities come from the model and from rules. Where two overlap, all that either covers is replaced, so that no half
stays. What a rule finds is replaced by itself, so that it has the same name everywhere. Knows no tags and no words.
Try: echo "Tim Cook, tim@apple.com" | bertcli predict -t ner --redact --redact-as pseudonym
"""

import hashlib
import hmac
import ipaddress
import os
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import regex

from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.tasks.options import Options
from bertcli.tasks.texts import Mark, entity_results, fold
from bertcli.tasks.token_classification.labels import has_words

BETWEEN = string.punctuation + string.whitespace
# Types in which spaces and hyphens mean nothing, and the library of the extra `redact` that checks each.
NUMBERS = {"PHONE": "phonenumbers", "IBAN": "stdnum", "CARD": "stdnum"}
LEAST_KEY = 16  # bytes; who can try all keys can find out what was hashed
HASH_DIGITS = 16  # hexadecimal, 64 bits: the chance that two of a million names have one hash is 1 in 37 million


class Redaction:
    """How texts are redacted. types: of the model. Raises UsageError for options that cannot be used.

    memory: the numbers of pseudonyms, by a digest of what they stand for; None without pseudonyms. identity: a digest
    of the key.
    """

    def __init__(self, options: Options, types: Sequence[str]) -> None:
        if options.long == "truncate":
            raise UsageError("--long truncate would leave the rest of a text as it is; --redact takes window or error.")
        self.options = options
        self.types = _chosen("types", options.redact_types, types)
        self.rules = _chosen("rules", options.redact_rules, list(RULES))
        if lacking := [name for name in self.rules if name.upper() in NUMBERS and not find_spec(NUMBERS[name.upper()])]:
            others = ",".join(name for name in self.rules if name not in lacking) or "none"
            needs = f"--redact-rules {','.join(lacking)} need libraries that are not installed"
            raise UsageError(f"{needs}: pip install 'bertcli[redact]', or go without by --redact-rules {others}.")
        self.regions: list[str] = []
        if "phone" in self.rules:
            import phonenumbers

            names = options.redact_regions.upper().replace("NONE", "none")
            self.regions = _chosen("regions", names, sorted(phonenumbers.SUPPORTED_REGIONS))
        self.kept = [name.strip() for name in (options.redact_keep or "").split(",")]
        self.memory: dict[str, int] | None = {} if options.redact_as == "pseudonym" else None
        self.identity: dict[str, str] = {}
        if options.redact_as == "hash":
            self.key = _key(options.redact_key)
            self.identity = {"the key": hmac.digest(self.key, b"bertcli", "sha256").hex()[:8]}
        elif options.redact_key:
            raise UsageError("--redact-key is for --redact-as hash.")

    def answer(self, record: Record, text: str, marks: Sequence[Mark]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of a record that may be written, and the results. marks: the model's entities."""
        chosen = [mark for mark in marks if mark.type in self.types]
        replaced = without_overlap(text, chosen, union(find(text, self.rules, self.regions)))
        listed = entity_results(text, replaced, self.options.offset_unit)
        parts, end = [], 0
        for mark, entity in zip(replaced, listed, strict=True):
            entity["replacement"] = self._substitute(mark.type, entity["text"])
            parts += [text[end : mark.start], entity["replacement"]]
            end = mark.end
        redacted = "".join([*parts, text[end:]])
        # Fields without text and those of --redact-keep may be written, and the redacted text.
        name = "text" if has_words(record, self.options) else self.options.text_field
        first, *inner = [name] if name in record.fields else name.split(".")
        written: dict[str, Any] = {}
        for field, value in record.fields.items():
            if field == first:
                written[field] = _with(value, inner, redacted, field in self.kept)
            elif field in self.kept or not _holds_text(value):
                written[field] = value
        written.setdefault(first, redacted)  # A record with tokens may have no text.
        return written, {"redacted": listed} if self.options.redact_list else {}

    def _substitute(self, entity_type: str, text: str) -> str:
        """What replaces an entity; the same for texts that differ only in case, width, spaces or unseen characters."""
        if self.options.redact_as == "mask":
            return f"[{entity_type}]"
        plain = "".join(char for char in fold(text) if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf"))
        plain = "".join(filter(str.isalnum, plain)) if entity_type in NUMBERS else " ".join(plain.split())
        content = f"{entity_type}\0{plain}".encode("utf-8", "surrogatepass")
        if self.memory is None:
            return f"{entity_type}_{hmac.digest(self.key, content, 'sha256').hex()[:HASH_DIGITS]}"
        name = f"{hashlib.blake2b(content, digest_size=16).hexdigest()} {entity_type}"
        if name not in self.memory:
            self._counts[entity_type] += 1
            self.memory[name] = self._counts[entity_type]
        return f"{entity_type}_{self.memory[name]}"

    @cached_property
    def _counts(self) -> Counter[str]:
        """The number of pseudonyms of each type so far. It is counted late, because a resumed run fills `memory`."""
        return Counter(name.partition(" ")[2] for name in self.memory or ())


def union(marks: Sequence[Mark]) -> list[Mark]:
    """The marks in the order of the text; overlapping ones become one mark, of the longer one's type."""
    joined: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.start):
        if joined and mark.start < joined[-1].end:
            last = joined[-1]
            longer = max(last, mark, key=lambda one: one.end - one.start)
            joined[-1] = replace(longer, start=last.start, end=max(last.end, mark.end))
        else:
            joined.append(mark)
    return joined


def without_overlap(text: str, found_by_model: Sequence[Mark], found_by_rules: Sequence[Mark]) -> list[Mark]:
    """All marks in the order of the text. The model's lose what the rules' cover, and punctuation at the new edges."""
    owners: list[Mark | None] = [None] * len(text)  # of each character
    for mark in (*found_by_model, *found_by_rules):
        owners[mark.start : mark.end] = [mark] * (mark.end - mark.start)
    marks, end = [], 0
    for owner, characters in groupby(owners):
        start, end = end, end + sum(1 for _ in characters)
        if owner is None or (owner.start, owner.end) == (start, end):
            marks += [owner] if owner else []
        elif piece := text[start:end].strip(BETWEEN):
            start = text.index(piece, start)
            marks.append(replace(owner, start=start, end=start + len(piece)))
    return marks


def _holds_text(value: Any) -> bool:
    """Whether a value contains text; the keys of an object are text too."""
    return isinstance(value, str | Mapping) or (isinstance(value, list) and any(map(_holds_text, value)))


def _with(value: Any, path: Sequence[str], text: str, is_kept: bool) -> Any:
    """A field's value with the text at a path in it; the rest of the value stays only if the field is kept."""
    if not path:
        return text
    others = value if is_kept else {}
    return {**others, path[0]: _with(value[path[0]], path[1:], text, is_kept)}


def _chosen(option: str, names: str | None, known: Sequence[str]) -> list[str]:
    """Names of a comma-separated list; all for None, none for "none"."""
    if names is None or names == "none":
        return list(known) if names is None else []
    chosen = [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        hint = "; --redact-rules chooses what rules find" if unknown[0].lower() in RULES else ""
        raise UsageError(f"--redact-{option} '{unknown[0]}': there are {', '.join(known)}, or none{hint}.")
    return chosen


def _key(source: str | None) -> bytes:
    """The key in file:PATH or env:VARIABLE, without a line end. Raises UsageError, whose message never has the key."""
    scheme, _, name = (source or "").partition(":")
    if scheme == "file":
        try:
            key = Path(name).read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(f"--redact-key: cannot read {name}: {getattr(error, 'strerror', error)}.") from error
    elif scheme == "env":
        if name not in os.environ:
            raise UsageError(f"--redact-key: the environment has no {name}.")
        key = os.environb[os.fsencode(name)]
    else:
        raise UsageError("--redact-as hash needs --redact-key file:PATH or env:VARIABLE; others could read it here.")
    key = key.rstrip(b"\r\n")
    if len(key) < LEAST_KEY:
        hint = "`openssl rand -hex 32` makes one"
        raise UsageError(f"--redact-key: {len(key)} bytes can be guessed, {LEAST_KEY} or more are needed; {hint}.")
    return key


# Rules for what has a fixed form: e-mail, URL, IP address, phone number, IBAN and payment card, in any text.
#
# Matches are checked if possible: IBANs and cards by their check digits, IP addresses by a parser, phone numbers by the
# numbering plan of their country. Full-width letters and digits count as plain ones. Chinese, Japanese and Korean
# letters end an address, because they follow it without a space.

WIDE = {chr(i): chr(i - 0xFEE0) for i in range(0xFF01, 0xFF5F)}
PLAIN = str.maketrans({wide: char for wide, char in WIDE.items() if char.isalnum() or char in "@.-+/_:"})
# Letters of scripts that part words by spaces, and marks, which may stand alone: e\u0301 for \u00e9.
L = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Devanagari}\p{M}\d"
LABEL = rf"[{L}][{L}-]{{0,62}}+"  # of a domain; RFC 1035 allows 63 characters
CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
PATH = rf"[^\s\p{{C}}<>\"\u00ab\u00bb\u2018-\u201f{CJK}\u3000-\u303f\uff00-\uffef]"
# After :// and www. a host may have such letters too. As nothing ends its last label, that has two to four of them.
HOST = rf"(?:(?:{LABEL}|[{CJK}\d-]{{1,63}}+)\.){{1,8}}+(?:[{CJK}]{{2,4}}|[{L}])"
SPACE = r"[ \u00a0\u202f-]?"  # in numbers
# Each repetition is bounded or possessive, or the time for a hostile text would grow with the square of its length.
# A name of two to four such letters stands only before such a domain, where it is a mailbox more often than prose.
EMAIL = regex.compile(
    rf"[{L}_][{L}_.+%&'~!#$*^-]{{0,63}}@{LABEL}(?:\.{LABEL})+"
    rf"|(?:[{L}_][{L}_.+%&'~!#$*^-]{{0,63}}|[{CJK}]{{2,4}})@(?:[{CJK}{L}-]{{1,63}}+\.){{1,8}}+[{CJK}]{{2,4}}",
    regex.I,
)
URL = regex.compile(
    rf"(?<![{L}])(?:(?:[a-z][a-z\d+.-]{{1,20}}://|www\.)(?:{HOST}|(?={PATH}))"
    rf"|(?:{LABEL}\.){{1,8}}+(?:xn--)?[{L}--\d]{{2,63}}+(?::\d+)?/(?={PATH})){PATH}*+",
    regex.I | regex.V1,
)
IP = regex.compile(
    r"(?<![a-z\d.])(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f]{0,4}(?::[\da-f]{0,4}){2,8}(?:(?:\.\d{1,3}){3})?)", regex.I
)
IBAN = regex.compile(rf"(?<![a-z\d])[a-z]{{2}}\d{{2}}(?:{SPACE}[a-z\d]){{11,30}}", regex.I)
CARD = regex.compile(rf"(?<![a-z\d])[1-6](?:{SPACE}\d){{11,18}}", regex.I)
DIGITS = regex.compile(r"(?:\d[^\d\n]{0,4}){6}")  # Phone numbers have at least six.
MARKS = ".,;:!?'*_~|([{"  # which belong to the sentence, not to the URL that they follow
Spans = Iterator[tuple[int, int]]


def find(text: str, names: Sequence[str], regions: Sequence[str]) -> list[Mark]:
    """What the rules of these names find, in code points, rule by rule; the marks of two rules may overlap.

    regions: the ISO 3166 codes of the countries whose phone numbers are found without a +.
    """
    plain = text.translate(PLAIN)
    return [Mark(start, end, name.upper()) for name in names for start, end in RULES[name](plain, regions)]


def _emails(text: str, regions: Sequence[str]) -> Spans:
    for match in EMAIL.finditer(text) if "@" in text else ():
        yield match.start(), match.start() + len(match[0].rstrip("-"))


def _urls(text: str, regions: Sequence[str]) -> Spans:
    """A closing bracket belongs to the URL if the opening one does."""
    for match in URL.finditer(text) if "/" in text or "www." in text.lower() else ():
        marks = MARKS + "".join(close for opens, close in ("()", "[]", "{}") if opens not in match[0])
        yield match.start(), match.start() + len(match[0].rstrip(marks))


def _phones(text: str, regions: Sequence[str]) -> Spans:
    """With a + all possible numbers; without it only those that the country has assigned, because dates look alike."""
    if DIGITS.search(text):
        from phonenumbers import Leniency, PhoneNumberMatcher

        for region, leniency in ((None, Leniency.POSSIBLE), *((region, Leniency.VALID) for region in regions)):
            for match in PhoneNumberMatcher(text, region, leniency, max_tries=sys.maxsize):
                yield match.start, match.end


def _checked(pattern: "regex.Pattern[str]", check: Callable[[str], bool], text: str, regions: Sequence[str]) -> Spans:
    """The longest prefix of each match that passes the check and ends at the end of a word."""
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
    """Whether it is an IP address. One of hexadecimal letters alone, such as a::b, is more often program text."""
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

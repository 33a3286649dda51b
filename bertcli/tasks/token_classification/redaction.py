"""What `predict --redact` writes: a text whose entities are replaced, and no other text of its record unless named.

Entities come from the model and from rules. Where two overlap, all that either covers is replaced, so that nothing is
half there; what a rule finds is replaced by itself, so that it has one name all through. Knows no tags and no words.
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
from bertcli.tasks.texts import Mark, entity_results
from bertcli.tasks.token_classification.labels import has_words

BETWEEN = string.punctuation + string.whitespace
# Whose spaces and hyphens mean nothing, and the library of the extra `redact` that knows them.
NUMBERS = {"PHONE": "phonenumbers", "IBAN": "stdnum", "CARD": "stdnum"}
LEAST_KEY = 16  # bytes; who can try all keys knows what was hashed
HASH_DIGITS = 16  # in hexadecimal, 64 bits: two of a million names are alike with a chance of 1 in 37 million


class Redaction:
    """How texts are redacted. types: of the model. Raises UsageError for options that cannot be obeyed.

    memory: the pseudonyms so far, by a digest of what they stand for; None where no result depends on earlier ones.
    identity: what tells the key from others.
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
        """The fields of a record that may be written, and the results. marks: what the model found in the text."""
        chosen = [mark for mark in marks if mark.type in self.types]
        replaced = apart(text, chosen, united(find(text, self.rules, self.regions)))
        listed = entity_results(text, replaced, self.options.offset_unit)
        parts, end = [], 0
        for mark, entity in zip(replaced, listed, strict=True):
            entity["replacement"] = self._substitute(mark.type, entity["text"])
            parts += [text[end : mark.start], entity["replacement"]]
            end = mark.end
        redacted = "".join([*parts, text[end:]])
        # What may be written: the fields that hold no text, those that were named, and the redacted text.
        name = "text" if has_words(record, self.options) else self.options.text_field
        first, *inner = [name] if name in record.fields else name.split(".")
        written: dict[str, Any] = {}
        for field, value in record.fields.items():
            if field == first:
                written[field] = _with(value, inner, redacted, field in self.kept)
            elif field in self.kept or not _holds_text(value):
                written[field] = value
        written.setdefault(first, redacted)  # tokens have no such field
        return written, {"redacted": listed} if self.options.redact_list else {}

    def _substitute(self, entity_type: str, text: str) -> str:
        """What is written for an entity: the same however it differs in case, width, spaces or what nobody sees."""
        if self.options.redact_as == "mask":
            return f"[{entity_type}]"
        plain = unicodedata.normalize("NFKC", text).casefold()
        plain = "".join(char for char in plain if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf"))
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
        """Pseudonyms of each type so far; a resumed run has those of the run before when the first is asked for."""
        return Counter(name.partition(" ")[2] for name in self.memory or ())


def united(marks: Sequence[Mark]) -> list[Mark]:
    """The marks in the order of the text, those that overlap as one, of the longer one's type."""
    joined: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.start):
        if joined and mark.start < joined[-1].end:
            last = joined[-1]
            longer = max(last, mark, key=lambda one: one.end - one.start)
            joined[-1] = replace(longer, start=last.start, end=max(last.end, mark.end))
        else:
            joined.append(mark)
    return joined


def apart(text: str, found_by_model: Sequence[Mark], found_by_rules: Sequence[Mark]) -> list[Mark]:
    """All marks in the order of the text; of the model's what the rules' leave, without the punctuation between."""
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
    """Whether there is text in a value; the names in an object are text."""
    return isinstance(value, str | Mapping) or (isinstance(value, list) and any(map(_holds_text, value)))


def _with(value: Any, path: Sequence[str], text: str, is_kept: bool) -> Any:
    """A field with the text at a path of names in it; what else is in it stays only where it is kept."""
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
    """The key that file:PATH or env:VARIABLE holds, without the line's end. Raises UsageError, and repeats no key."""
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


# Rules for what has a form of its own: e-mail, URL, IP and phone numbers, IBANs and payment cards, in any text.
#
# What looks like one is checked where that is possible: accounts and cards by their check digits, IP addresses by their
# parser, phone numbers by the plan of their country. Full-width letters and digits count as the plain ones; Chinese,
# Japanese and Korean letters end an address, since they follow it without a space.

WIDE = {chr(i): chr(i - 0xFEE0) for i in range(0xFF01, 0xFF5F)}
PLAIN = str.maketrans({wide: char for wide, char in WIDE.items() if char.isalnum() or char in "@.-+/_:"})
# Letters of scripts that part words by spaces, and marks, which may stand alone: e\u0301 for \u00e9.
L = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Devanagari}\p{M}\d"
LABEL = rf"[{L}][{L}-]{{0,62}}+"  # of a domain; RFC 1035 allows 63 characters
CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
PATH = rf"[^\s\p{{C}}<>\"\u00ab\u00bb\u2018-\u201f{CJK}\u3000-\u303f\uff00-\uffef]"
# After :// and www. a host may be of such letters too; nothing says where its last label ends, which has two to four.
HOST = rf"(?:(?:{LABEL}|[{CJK}\d-]{{1,63}}+)\.){{1,8}}+(?:[{CJK}]{{2,4}}|[{L}])"
SPACE = r"[ \u00a0\u202f-]?"  # in numbers
# Each repetition has a bound or gives nothing back, else a hostile text would take the square of its length.
EMAIL = regex.compile(rf"[{L}_][{L}_.+%&'~!#$*^-]{{0,63}}@{LABEL}(?:\.{LABEL})+", regex.I)
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

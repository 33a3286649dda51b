"""What --redact finds and what it leaves alone: on made-up contact lines, on UNER's sentences, on Presidio's texts.

Each text goes through `predict -t ner --redact` by mask, pseudonym and hash. Whatever is not replaced must be as it
was, each line JSON, and one entity the same name all through. Prints a JSON line with recall (all characters of an
entity replaced) and precision (what was replaced touches an entity), by type.
Try: python tests/benchmarks/redaction.py contacts 10000
     python tests/benchmarks/redaction.py synth_dataset_v2.json.xz en_ewt-ud-test.iob2.xz
"""

import itertools
import json
import lzma
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import phonenumbers
from stdnum import iban, luhn

Text = tuple[str, list[tuple[int, int, str]]]  # with its entities: start, end, type
TYPES = {  # of Presidio's data, as bertcli calls them
    "PERSON": "PER", "ORGANIZATION": "ORG", "GPE": "LOC", "STREET_ADDRESS": "LOC", "EMAIL_ADDRESS": "EMAIL",
    "DOMAIN_NAME": "URL", "IP_ADDRESS": "IP", "PHONE_NUMBER": "PHONE", "IBAN_CODE": "IBAN", "CREDIT_CARD": "CARD",
}  # fmt: skip
FIRST = "Tim Angela Mary José Zoë Rahul Ingrid Olu Søren Anna Pedro Fatima Jan Lucy Ahmed Noor".split()
LAST = "Cook Merkel O'Neill García Müller Patel Jensen Okafor Novák Rossi Smith Haddad Berg Walsh".split()
PLACES = ["Berlin", "New York", "São Paulo", "Lagos", "Oslo", "Leeds", "Paris", "Prague"]
FORMS = (  # how contact lines look, with spaces, commas or without either
    "{PER}, {LOC}, tel. {PHONE}, {EMAIL}", "Please write to {PER} <{EMAIL}> or call {PHONE}.", "{PER} ({URL}) | {IP}",
    "Pay {PER} at {IBAN}, not by card {CARD}.", "联系人邮箱{EMAIL}\uff0c电话{PHONE}\uff0c主页{URL}。",
    "From {IP} at 10:32:07 paid {CARD};",
)  # fmt: skip
WIDE = {code: code + 0xFEE0 for code in range(0x30, 0x3A)}  # digits as Chinese keyboards may write them


def contact(chance: random.Random) -> Text:
    """A line of made-up contact data; accounts and cards have right check digits, phone numbers are a country's."""
    first, last = chance.choice(FIRST), chance.choice(LAST)
    bban = "".join(chance.choices("0123456789", k=18))
    card = "4" + "".join(chance.choices("0123456789", k=14))
    card += luhn.calc_check_digit(card)
    number = phonenumbers.example_number(chance.choice(["US", "GB", "CN", "DE", "SE", "BR"]))
    number.national_number += chance.randrange(50)
    phone = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    values = {
        "PER": f"{first} {last}",
        "LOC": chance.choice(PLACES),
        "PHONE": phone.translate(WIDE) if chance.random() < 0.1 else phone,
        "EMAIL": f"{first}.{chance.randrange(500)}@example-{chance.randrange(9)}.org".lower(),
        "URL": f"https://www.example.com/~u{chance.randrange(500)}?q={chance.randrange(9)}",
        "IP": chance.choice([f"192.0.2.{chance.randrange(255)}", f"2001:db8::{chance.randrange(1, 9999)}"]),
        "IBAN": iban.format(f"DE{iban.calc_check_digits(f'DE00{bban}')}{bban}"),
        "CARD": " ".join(card[i : i + 4] for i in range(0, 16, 4)) if chance.random() < 0.5 else card,
    }
    text, entities = "", []
    for i, part in enumerate(chance.choice(FORMS).replace("}", "{").split("{")):
        if i % 2:
            entities.append((len(text), len(text) + len(values[part]), part))
        text += values[part] if i % 2 else part
    return text, entities


def presidio(path: Path) -> Iterator[Text]:
    """Microsoft's made-up texts; types that bertcli does not look for keep their names."""
    for item in json.loads(lzma.decompress(path.read_bytes())):
        spans = ((span["start_position"], span["end_position"], span["entity_type"]) for span in item["spans"])
        yield item["full_text"], [(start, end, TYPES.get(label, label)) for start, end, label in spans]


def sentences(path: Path) -> Iterator[Text]:
    """UNER's, their words joined by spaces."""
    for block in lzma.decompress(path.read_bytes()).decode().split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line and not line.startswith("#")]
        text, entities = "", list[tuple[int, int, str]]()
        for _, word, tag, *_ in rows:
            start, end = len(text), len(text) + len(word)
            if tag[0] == "I" and entities:
                entities[-1] = (entities[-1][0], end, tag[2:])
            elif tag != "O":
                entities.append((start, end, tag[2:]))
            text += f"{word} "
        if rows:
            yield text.rstrip(), entities


def redacted(texts: list[str], manner: str) -> list[dict[str, Any]]:
    """What the command writes, a result for each text."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl"
        file.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
        command = [sys.executable, "-m", "bertcli", "predict", "-t", "ner", str(file), "--redact", "--redact-list"]
        key = ["--redact-key", "env:KEY"] if manner == "hash" else []
        done = subprocess.run(
            [*command, "--redact-as", manner, *key],
            stdout=subprocess.PIPE,
            env={**os.environ, "KEY": "k" * 32},
            check=True,
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(texts: list[str], results: list[dict[str, Any]]) -> None:
    """Every text outside of what is listed is as it was, and one thing has one name."""
    assert [result["id"] for result in results] == list(range(len(texts)))
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for text, result in zip(texts, results, strict=True):
        rebuilt, end = "", 0
        for entity in result["redacted"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            rebuilt += text[end : entity["start"]] + entity["replacement"]
            end = entity["end"]
            names[entity["type"], entity["text"]].add(entity["replacement"])
        assert rebuilt + text[end:] == result["text"]
    assert all(len(replacements) == 1 for replacements in names.values())


def scores(texts: list[Text], results: list[dict[str, Any]]) -> dict[str, Any]:
    """By type: how many entities there are, the share that is replaced, and of replacements those that touch one."""
    total, covered, replaced, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for (_, entities), result in zip(texts, results, strict=True):
        spans = [(entity["start"], entity["end"], entity["type"]) for entity in result["redacted"]]
        for start, end, label in entities:
            total[label] += 1
            covered[label] += {*range(start, end)} <= {*itertools.chain(*(range(a, b) for a, b, _ in spans))}
        for start, end, label in spans:
            replaced[label] += 1
            right[label] += any(a < end and b > start for a, b, _ in entities)
    return {
        label: {
            "entities": total[label],
            "recall": round(covered[label] / total[label], 4) if total[label] else None,
            "replaced": replaced[label],
            "precision": round(right[label] / replaced[label], 4) if replaced[label] else None,
        }
        for label in sorted(total | replaced)
    }


def main() -> None:
    """Check and print."""
    arguments = sys.argv[1:] or ["contacts", "10000"]
    if arguments[0] == "contacts":
        chance = random.Random(0)
        data = {"contacts": [contact(chance) for _ in range(int(arguments[1]))]}
    else:
        data = {path: list((presidio if ".json" in path else sentences)(Path(path))) for path in arguments}
    for name, texts in data.items():
        plain = [text for text, _ in texts]
        for manner in ("mask", "pseudonym", "hash"):
            results = redacted(plain, manner)
            check(plain, results)
        print(json.dumps({"data": Path(name).name, "texts": len(texts), "types": scores(texts, results)}), flush=True)


if __name__ == "__main__":
    main()

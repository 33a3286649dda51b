"""Redaction: what rules find in any script, spans that overlap, names that stay the same, and what may be written."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.tasks.options import Options
from bertcli.tasks.texts import Mark
from bertcli.tasks.token_classification.redaction import RULES, Redaction, find, union

REGIONS = ["US", "GB", "CN"]
TYPES = ["LOC", "PER"]
KEY = "0123456789abcdef"
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # full-width


def redaction(**options: Any) -> Redaction:
    return Redaction(Options(redact=True, **options), TYPES)


def redacted(text: str, *marks: Mark, **options: Any) -> str:
    fields, _ = redaction(**options).answer(Record(0, {"text": text}), text, marks)
    return str(fields["text"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'tim@x.com' <o'neil@x.ie>, mail=a.b+c@mail.x.co.uk.", "'[EMAIL]' <[EMAIL]>, mail=[EMAIL]."),
        ("我的邮箱是zhang@example.com谢谢", "我的邮箱是[EMAIL]谢谢"),
        (
            "联系joe@例子.公司。或 张三@例子.中国, joe@qq.com.谢谢 转发@bbc.com",
            "联系[EMAIL]。或 [EMAIL], [EMAIL].谢谢 转发@bbc.com",
        ),
        ("jose\u0301@x.com, tim@mu\u0308ller.de محمد@مثال.مصر राम@उदाहरण.भारत", "[EMAIL], [EMAIL] [EMAIL] [EMAIL]"),
        ("tim@example.com, 4111111111111111".translate(WIDE), "[EMAIL]\uff0c [CARD]"),
        ("(see https://x.com/a_(b), www.y.org). [http://z.de]", "(see [URL], [URL]). [[URL]]"),
        ("见https://x.com/a请联系, github.com/tim!", "见[URL]请联系, [URL]!"),
        ("网址https://例子.测试/a 或 www.中文.com吧", "网址[URL] 或 [URL]吧"),
        ("https://example.com看这里example.org, https://的网址", "[URL]看这里example.org, https://的网址"),
        ("ftp://user:pw@h.com:80/p?q#f and and/or 1.5/2 a.txt", "[URL] and and/or 1.5/2 a.txt"),
        (
            "ip:10.0.0.1. 2001:db8::1, ::2:3:4:5:6:7:8 1:2:3:4:5:6:7:: 地址10.0.0.1 10:32:07 v1.2.3.4 a::b",
            "ip:[IP]. [IP], [IP] [IP] 地址[IP] 10:32:07 v1.2.3.4 a::b",
        ),
        ("GB82 WEST 1234 5698 7654 32 and more", "[IBAN] and more"),
        ("gb82west12345698765432, DE89 3704 0044 0532 0130 01", "[IBAN], DE89 [CARD]"),
        ("4111 1111 1111 1111, 4111-1111-1111-1111 2027", "[CARD], [CARD] 2027"),
        ("卡号4111111111111111谢谢, 4111111111111112", "卡号[CARD]谢谢, 4111111111111112"),
        ("电话13812345678谢谢", "电话[PHONE]谢谢"),
        ("手机\uff11\uff13\uff18\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18", "手机[PHONE]"),
        ("(201) 555-0123 or +46 8 928 571 38, in 1998-2003", "[PHONE] or [PHONE], in 1998-2003"),
        ("nothing 12,345,678 here on 2024-05-06 11:22:33", "nothing 12,345,678 here on 2024-05-06 11:22:33"),
    ],
)
def test_rules_find_what_passes_its_check_in_any_script(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize("name", RULES)
def test_each_rule_can_be_switched_off_and_is_found_alone(name: str) -> None:
    text = "a@b.org http://c.de 10.0.0.1 +1 201 555 0123 DE89370400440532013000 4111111111111111"
    assert {mark.type for mark in find(text, [name], REGIONS)} == {name.upper()}
    others = ",".join(other for other in RULES if other != name)
    assert f"[{name.upper()}]" not in redacted(text, redact_rules=others)
    assert f"[{name.upper()}]" in redacted(text, redact_rules=name)
    assert redacted(text, redact_rules="none") == text


def test_phone_numbers_without_a_plus_are_those_of_the_countries_named() -> None:
    assert redacted("030 901820", redact_regions="de,AT") == "[PHONE]"
    assert redacted("030 901820 and +49 30 901820", redact_regions="none") == "030 901820 and [PHONE]"


@given(st.text(alphabet=st.sampled_from("a1@.:/-+ (é王\uff11\uff20"), max_size=60) | st.text(max_size=60))
def test_what_is_not_replaced_is_as_it_was_whatever_the_text(text: str) -> None:
    marks = find(text, list(RULES), REGIONS)
    assert all(0 <= mark.start < mark.end <= len(text) for mark in marks)
    fields, results = redaction(redact_list=True).answer(Record(0, {"text": text}), text, [])
    end, rebuilt = 0, ""
    for entity in results["redacted"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        rebuilt += text[end : entity["start"]] + entity["replacement"]
        end = entity["end"]
    assert fields == {"text": rebuilt + text[end:]}


@pytest.mark.parametrize(
    "piece", ["a.", "1-", "a@", "a:", "GB82 ", "4111 ", "http://x.y/(", "+1 ", "f::", "www.", "http://中.a."]
)
def test_a_hostile_text_is_read_to_its_end(piece: str) -> None:
    text = f"{piece * 4000}, tim@x.com"  # A search that takes the square of the length would take minutes.
    assert redacted(text).endswith(" [EMAIL]")


def test_of_spans_that_overlap_all_is_replaced_and_what_a_rule_finds_by_itself() -> None:
    text = "ask tim@apple.com Inc now"
    person, company = Mark(4, 7, "PER", 0.9), Mark(8, 21, "LOC", 0.9)
    assert redacted(text, person, company) == "ask [EMAIL] [LOC] now"
    assert redacted("Tim <a@b.org> (Tim)", Mark(0, 18, "PER", 0.9)) == "[PER] <[EMAIL]> ([PER])"
    assert redacted(text, person, company, redact_rules="none") == "ask [PER]@[LOC] now"
    assert union([Mark(5, 9, "B", 0.9), Mark(0, 6, "A", 0.8), Mark(9, 12, "C", 0.7)]) == [
        Mark(0, 9, "A", 0.8), Mark(9, 12, "C", 0.7),
    ]  # fmt: skip


def test_types_that_are_not_chosen_stay() -> None:
    marks = (Mark(0, 3, "PER", 0.9), Mark(7, 11, "LOC", 0.9))
    assert redacted("Tim in Oslo", *marks) == "[PER] in [LOC]"
    assert redacted("Tim in Oslo", *marks, redact_types="LOC") == "Tim in [LOC]"
    assert redacted("Tim in Oslo", *marks, redact_types="none") == "Tim in Oslo"


def answers(own: Redaction, *texts: str, entity_type: str = "PER") -> list[str]:
    """Each text as one entity."""
    marks = [Mark(0, len(text), entity_type, 0.9) for text in texts]
    records = [Record(0, {"text": text}) for text in texts]
    found = [own.answer(record, record.fields["text"], [mark]) for record, mark in zip(records, marks, strict=True)]
    return [str(fields["text"]) for fields, _ in found]


def test_a_pseudonym_is_the_same_for_every_way_to_write_a_name() -> None:
    own = redaction(redact_as="pseudonym", redact_rules="phone")
    names = ("Tim Cook", "Ann", "TIM  COOK", "\uff34im Co\u00adok", "Bo")
    assert answers(own, *names) == ["PER_1", "PER_2", "PER_1", "PER_1", "PER_3"]
    assert answers(own, "Tim Cook", entity_type="LOC") == ["LOC_1"]
    assert answers(own, "+1 201 555 0123", "+1 (201) 555-0123") == ["PHONE_1", "PHONE_1"]
    other = redaction(redact_as="pseudonym")
    assert own.memory is not None and other.memory is not None
    other.memory |= own.memory  # as a run that goes on
    assert answers(other, "Cy", "ann") == ["PER_4", "PER_2"]
    assert "tim" not in str(own.memory).lower()


def test_a_hash_is_of_the_key_the_type_and_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "other").write_text(KEY[::-1])
    own, same, other = (
        redaction(redact_as="hash", redact_key=source)
        for source in ("env:SECRET", f"file:{tmp_path / 'key'}", f"file:{tmp_path / 'other'}")
    )
    # printf 'PER\0tim' | openssl dgst -sha256 -hmac 0123456789abcdef | cut -d ' ' -f 2 | cut -c -16
    assert answers(own, "Tim") == answers(same, "TIM") == ["PER_5f896df02ae5de1b"]
    assert re.fullmatch("PER_[0-9a-f]{16}", answers(other, "Tim")[0]) and answers(other, "Tim") != answers(own, "Tim")
    assert own.identity == same.identity != other.identity and KEY not in str(own.identity)
    assert own.memory is None


def test_of_other_fields_only_numbers_and_those_that_are_named_are_written() -> None:
    fields = {
        "id": 7, "name": "Tim", "text": "a@b.org", "ok": True, "none": None, "pair": [1, 2.5], "names": [1, ["Tim"]],
        "of": {"Tim": 1}, "lang": "en",
    }  # fmt: skip
    written, results = redaction(redact_keep="lang,names").answer(Record(0, fields), "a@b.org", [])
    assert list(written.items()) == [
        ("id", 7), ("text", "[EMAIL]"), ("ok", True), ("none", None), ("pair", [1, 2.5]), ("names", [1, ["Tim"]]),
        ("lang", "en"),
    ]  # fmt: skip
    assert results == {}


def test_a_text_inside_an_object_is_replaced_there() -> None:
    record = Record(0, {"a": {"b": {"c": "a@b.org", "d": "Tim"}, "e": "Tim"}, "n": 1})
    for keep, expected in (
        (None, {"a": {"b": {"c": "[EMAIL]"}}, "n": 1}),
        ("a", {"a": {"b": {"c": "[EMAIL]", "d": "Tim"}, "e": "Tim"}, "n": 1}),
    ):
        assert redaction(redact_keep=keep, text_field="a.b.c").answer(record, "a@b.org", [])[0] == expected
    assert redaction().answer(Record(0, {"tokens": ["a@b.org"]}), "a@b.org", [])[0] == {"text": "[EMAIL]"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redact_types": "EMAIL"}, "'EMAIL': there are LOC, PER, or none; --redact-rules chooses"),
        ({"redact_rules": "mail"}, "--redact-rules 'mail': there are email, url, ip, phone, iban, card, or none."),
        ({"redact_regions": "UK"}, "--redact-regions 'UK': there are AC, AD"),
        ({"redact_as": "hash"}, "needs --redact-key file:PATH or env:VARIABLE"),
        ({"redact_as": "hash", "redact_key": KEY}, "needs --redact-key file:PATH or env:VARIABLE"),
        ({"redact_as": "hash", "redact_key": "env:NO_SUCH"}, "the environment has no NO_SUCH"),
        ({"redact_as": "hash", "redact_key": "file:/no/such"}, "cannot read /no/such: No such file"),
        ({"redact_as": "hash", "redact_key": "file:/dev/null"}, "0 bytes can be guessed, 16 or more"),
        ({"redact_key": "file:/dev/null"}, "--redact-key is for --redact-as hash"),
        ({"long": "truncate"}, "--long truncate would leave the rest"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        redaction(**options)
    assert message in str(raised.value) and KEY not in str(raised.value)


def test_an_option_of_redaction_without_redact_is_refused() -> None:
    with pytest.raises(UsageError, match="--redact-keep does nothing without --redact"):
        Options(redact_keep="id")

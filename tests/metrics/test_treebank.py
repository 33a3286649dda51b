"""Words against NLTK's own tokenizer, which is installed for this alone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import word_tokenize

from bertcli.metrics import treebank

MARKS = "\" '' ' ` `` “ ” « » ‘ ’ „ . .. , : ; @ # $ % & * - -- — ? ! ( ) [ ] { } < >".split()  # noqa: RUF001
WORDS = """a Cannot cannot d'ye gimme gonna gotta lemme more'n wanna 'tis 'TWAS 's 'S 'm 'd 'll 'RE 've n't N'T don't 1
    2,3 1.5 é _ ſ İ ３ 中""".split()  # noqa: RUF001
SPACES = [" ", "  ", "\t", "\n", "\x1c", "\x85", "\u00a0", "\u2028"]
ODD = ["\u0301", "\u212a", "\ud800", "\0", "\\1"]
PIECES = st.sampled_from([*MARKS, *WORDS, *SPACES, *ODD])


@settings(max_examples=2000)
@given(st.lists(PIECES | st.characters(), max_size=20).map("".join))
def test_words_are_those_of_nltk(text: str) -> None:
    assert treebank.words(text) == word_tokenize(text, preserve_line=True)


def test_a_hostile_answer_takes_no_time() -> None:
    for piece in (". ", "a.' ", ".)", "'", "`", "na", ".\t"):
        assert treebank.words(piece * 50_000 + "x")  # A search that takes the square of the length would take minutes.

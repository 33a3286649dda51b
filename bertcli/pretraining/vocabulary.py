"""BERT's WordPiece vocabulary, trained on raw text, and the files that hold it.

The `tokenizers` library trains it: it merges the most frequent pair of pieces until there are enough (Sennrich et al.
2016). Google's own trainer was never published. The same text gives the same vocabulary.

    python -c 'from bertcli.pretraining.vocabulary import *; print(train(["a ab"] * 9, 9, lowercase=True).get_vocab())'
"""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from bertcli.data.sinks import new_directory, remove_files
from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.pretraining.source import Source, Stop, Texts, key, locked
from bertcli.tokenizer_files import FILES

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
MIN_COUNT = 2  # A pair of pieces that occurs once is not merged.
# The alphabet is the most frequent characters that make up COVERAGE of the text, as in SentencePiece (Kudo and
# Richardson 2018): 7,500 of the 8,600 in Chinese Wikipedia; Google's Chinese vocabulary has 7,300 ideographs. It has at
# least ENOUGH characters, because in novels even digits are beyond COVERAGE.
COVERAGE = 0.9999
ENOUGH = 256
# A word of over 100 characters is [UNK] whatever the pieces are, and the library's time is the square of its length.
LONG_WORD = Regex(r"[^\s\p{P}$+<=>^`|~]{101,}")
VERSION = 2  # of how text becomes a vocabulary


def cached_vocabulary(source: Source, size: int, lowercase: bool, cache: Path, stop: Stop) -> Path:
    """The directory of a tokenizer trained on a source, now or by an earlier run."""
    folder = cache / f"vocabulary-{key(VERSION, {**source.identity, 'size': size, 'lowercase': lowercase})}"
    with locked(folder, stop):
        if not (folder / "tokenizer").is_dir():
            with new_directory(folder / "tokenizer") as draft:
                build(Texts(source, stop), draft, size, lowercase=lowercase)
    return folder / "tokenizer"


def build(texts: Texts, output: Path, size: int, *, lowercase: bool, overwrite: bool = False) -> None:
    """Train `size` pieces on texts and write the files of their tokenizer, whole or not at all.

    Raises UsageError as `train` does, with the faults of the texts, and for an output that cannot be used; Interrupted
    when texts.stop says so.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; --overwrite replaces the tokenizer in it.")
    try:
        tokenizer = train(texts, size, lowercase=lowercase)
    except UsageError as error:
        if not texts.faults:
            raise
        raise UsageError(f"{error} Faults left out: {texts.faults:,}; the first: {texts.first_fault}") from error
    if signum := texts.stop():  # The signal came while the library merged pieces.
        raise Interrupted(signum)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".draft-", dir=output) as draft:
            save(tokenizer, Path(draft), lowercase=lowercase)
            remove_files(output, FILES)  # of an earlier tokenizer, which transformers would read beside these
            for file in Path(draft).iterdir():
                file.replace(output / file.name)
    except OSError as error:
        raise BertcliError(f"cannot write to {output}: {error.strerror}") from error


def train(texts: Iterable[str], size: int, *, lowercase: bool) -> Tokenizer:
    """A tokenizer with `size` pieces; lowercase: also strips accents, as BERT's uncased models do.

    texts: iterated over twice, the second time by another thread, so no generator. Raises UsageError for no text, for a
    `size` smaller than the alphabet, and for one larger than the text yields.
    """
    if iter(texts) is texts:
        raise TypeError("texts are gone through twice; an iterator will not do")
    tokenizer = _tokenizer({}, lowercase)
    known = [*SPECIAL, *_alphabet(tokenizer, texts)]
    if len(known) > size:
        raise UsageError(f"--vocab-size {size} is too small: special tokens and alphabet alone need {len(known)}.")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(LONG_WORD, "removed"), tokenizer.pre_tokenizer]
    )
    # The library numbers characters in the order of a hash table with a random seed, and breaks ties between merges by
    # these numbers (huggingface/tokenizers#1794). So it gets all characters as "special tokens", numbered in order.
    trainer = WordPieceTrainer(
        vocab_size=size, min_frequency=MIN_COUNT, special_tokens=known, limit_alphabet=0, show_progress=False
    )
    # Signals are heeded in the main thread only, and not while it is inside the library, which may take minutes.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(tokenizer.train_from_iterator, texts, trainer).result()
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    if len(vocabulary) < size:
        raise UsageError(
            f"the text yields {len(vocabulary)} pieces, not --vocab-size {size}; ask for {len(vocabulary)} or fewer, "
            "or give more text."
        )
    return _tokenizer(vocabulary, lowercase)


def _tokenizer(vocabulary: dict[str, int], lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)  # strip_accents follows lowercase
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    if vocabulary:
        tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _alphabet(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """The pieces of one character, by code point: each as it begins a word, and with `##` if it can be inside one."""

    def words(text: str) -> list[str]:
        return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]

    raw: Counter[str] = Counter()
    for text in texts:
        raw.update(text)
    counts: Counter[str] = Counter()  # as words have them: BertNormalizer takes each character by itself
    for character, count in raw.items():
        for part in "".join(words(character)):
            counts[part] += count
    if not counts:
        raise UsageError("there is no text to train a vocabulary on.")
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    covered = accumulate(counts[character] for character in ranked)
    needed = next(rank for rank, seen in enumerate(covered, 1) if seen >= COVERAGE * counts.total())
    characters = sorted(ranked[: max(needed, ENOUGH)])
    # An ideograph or a mark of punctuation is a word of its own wherever it stands.
    inside = [character for character in characters if len(words(f"a{character}")) == 1]
    return [*characters, *(f"##{character}" for character in inside)]


def save(tokenizer: Tokenizer, directory: Path, *, lowercase: bool) -> None:
    """Write tokenizer.json, vocab.txt and tokenizer_config.json, which transformers and bertcli open alike."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), "utf-8")  # so that errors are the system's
    vocabulary = tokenizer.get_vocab()
    pieces = "".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.__getitem__))
    (directory / "vocab.txt").write_text(pieces, "utf-8")
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, "model_max_length": 512, **names}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")

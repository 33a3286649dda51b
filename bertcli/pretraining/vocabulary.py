"""BERT's WordPiece vocabulary, trained on raw text, and the files that hold it.

Training is the `tokenizers` library's, which merges the most frequent pair of pieces until there are enough (Sennrich
et al. 2016), as Hugging Face's do; Google's own trainer was never published. The same text gives the same vocabulary.

    python -c 'from bertcli.pretraining.vocabulary import *; print(train(["a ab"] * 9, 9, lowercase=True).get_vocab())'
"""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from bertcli.errors import UsageError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
MIN_COUNT = 2  # a pair of pieces seen once is no pattern
# The alphabet is the most frequent characters that make up COVERAGE of the text, the measure of SentencePiece (Kudo and
# Richardson 2018): 7,500 of the 8,600 in Chinese Wikipedia; Google's Chinese vocabulary has 7,300 ideographs. ENOUGH
# characters are never cut: in novels even digits are beyond it.
COVERAGE = 0.9999
ENOUGH = 256


def train(texts: Iterable[str], size: int, *, lowercase: bool) -> Tokenizer:
    """A tokenizer with `size` pieces; lowercase: also strips accents, as BERT's uncased models do.

    texts: gone through twice, by another thread the second time, so a generator will not do. Raises UsageError for no
    text, for a `size` that the alphabet alone exceeds, and for one that the text does not yield.
    """
    if iter(texts) is texts:
        raise TypeError("texts are gone through twice; an iterator will not do")
    tokenizer = _tokenizer({}, lowercase)
    known = [*SPECIAL, *_alphabet(tokenizer, texts)]
    if len(known) > size:
        raise UsageError(f"--vocab-size {size} is too small: special tokens and alphabet alone need {len(known)}.")
    vocabulary = _merged(tokenizer, texts, size, known)
    if len(vocabulary) < size:
        raise UsageError(
            f"the text yields {len(vocabulary)} pieces, not --vocab-size {size}; ask for {len(vocabulary)} or fewer, "
            "or give more text."
        )
    return _tokenizer(vocabulary, lowercase)


def save(tokenizer: Tokenizer, directory: Path, *, lowercase: bool, max_length: int = 512) -> None:
    """Write tokenizer.json, vocab.txt and tokenizer_config.json, which transformers and bertcli open alike."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    pieces = "".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.__getitem__))
    (directory / "vocab.txt").write_text(pieces, "utf-8")
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, "model_max_length": max_length, **names}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _merged(tokenizer: Tokenizer, texts: Iterable[str], size: int, known: list[str]) -> dict[str, int]:
    """The pieces that are known and those that merges make of them, with their ids."""
    # What the library finds by itself, it numbers in the order of a hash table that each process seeds anew, and ties
    # between merges fall by those numbers (huggingface/tokenizers#1794). So it is given all single characters, as
    # "special tokens", which have the numbers of their order.
    trainer = WordPieceTrainer(
        vocab_size=size, min_frequency=MIN_COUNT, special_tokens=known, limit_alphabet=0, show_progress=False
    )
    # Signals are heeded in the main thread only, and not while it is inside the library, which may take minutes.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(tokenizer.train_from_iterator, texts, trainer).result()
    return tokenizer.get_vocab(with_added_tokens=False)


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
    """The pieces of one character: as the beginning of a word, and `##` where it can be inside one."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    characters = _frequent(_normalized(tokenizer, counts))
    if not characters:
        raise UsageError("there is no text to train a vocabulary on.")
    # An ideograph or a mark of punctuation is a word of its own wherever it stands.
    inside = [character for character in characters if len(_split(tokenizer, f"a{character}")) == 1]
    return [*characters, *(f"##{character}" for character in inside)]


def _normalized(tokenizer: Tokenizer, counts: Counter[str]) -> Counter[str]:
    """Counts of characters as words have them: BertNormalizer takes each by itself."""
    found: Counter[str] = Counter()
    for character, count in counts.items():
        for part in "".join(_split(tokenizer, character)):
            found[part] += count
    return found


def _split(tokenizer: Tokenizer, text: str) -> list[str]:
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def _frequent(counts: Counter[str]) -> list[str]:
    """The alphabet of a text, in the order of code points."""
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    covered = accumulate(counts[character] for character in ranked)
    needed = next((rank for rank, seen in enumerate(covered, 1) if seen >= COVERAGE * counts.total()), 0)
    return sorted(ranked[: max(needed, ENOUGH)])

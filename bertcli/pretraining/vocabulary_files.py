"""A vocabulary as the files of a directory: trained first, written whole, then moved into place.

Try: python -c "from bertcli.pretraining.vocabulary_files import build; help(build)"
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from bertcli.errors import Interrupted, UsageError
from bertcli.pretraining import cached
from bertcli.pretraining.source import Source, Stop, Texts
from bertcli.pretraining.vocabulary import save, train

VERSION = 1  # of how text becomes a vocabulary


def build(texts: Texts, output: Path, size: int, *, lowercase: bool, overwrite: bool = False) -> None:
    """Train `size` pieces on texts; raises UsageError as vocabulary.train does."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; --overwrite replaces the tokenizer in it.")
    tokenizer = train(texts, size, lowercase=lowercase)
    if signum := texts.stop():  # came while the library merged pieces
        raise Interrupted(signum)
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".draft-", dir=output) as draft:
        save(tokenizer, Path(draft), lowercase=lowercase)
        for file in Path(draft).iterdir():
            file.replace(output / file.name)


def cached_vocabulary(source: Source, size: int, lowercase: bool, cache: Path, stop: Stop) -> Path:
    """The directory of a tokenizer trained on a source, now or by an earlier run."""
    folder = cache / f"vocabulary-{cached.key(VERSION, {**source.identity, 'size': size, 'lowercase': lowercase})}"
    with cached.locked(folder, stop):
        if not (folder / "tokenizer").is_dir():
            draft = folder / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            build(Texts(source, stop), draft, size, lowercase=lowercase)
            draft.rename(folder / "tokenizer")
    return folder / "tokenizer"

"""A vocabulary as the files of a directory: trained first, written whole, then moved into place.

Try: python -c "from bertcli.engine.vocabulary import build; help(build)"
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from bertcli.errors import UsageError
from bertcli.pretraining.vocabulary import save, train


def build(texts: Iterable[str], output: Path, size: int, *, lowercase: bool, overwrite: bool = False) -> None:
    """Train `size` pieces on texts that can be gone through twice; raises UsageError as vocabulary.train does."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; --overwrite replaces the tokenizer in it.")
    tokenizer = train(texts, size, lowercase=lowercase)
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".draft-", dir=output) as draft:
        save(tokenizer, Path(draft), lowercase=lowercase)
        for file in Path(draft).iterdir():
            file.replace(output / file.name)

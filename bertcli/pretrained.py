"""The one door to transformers' `from_pretrained` and `from_config`: nothing else in the package calls them.

Each call refuses a model's own code, takes weights from safetensors alone and opens no network. Left to itself,
transformers asks on stdin whether to trust such code, and takes a line of the data for the answer. Knows no task.
Try: python -c "from bertcli.pretrained import open_tokenizer; from pathlib import Path; open_tokenizer(Path('DIR'))"
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertcli.errors import BertcliError, ModelError
from bertcli.safety import read_configs, weight_files

REFUSING = {"trust_remote_code": False}  # whatever the library's default is, and whatever the environment says
LOCAL = {**REFUSING, "local_files_only": True}


def open_config(directory: Path, **changes: Any) -> Any:
    """The configuration of a model directory. changes: entries in place of its own."""
    import transformers

    with _refusals(f"{directory}: transformers cannot open it"):
        read_configs(directory)
        return transformers.AutoConfig.from_pretrained(directory, **LOCAL, **changes)


def make_config(**values: Any) -> Any:
    """A configuration from its entries, of which `model_type` says the family."""
    import transformers

    return transformers.AutoConfig.for_model(**values)


def open_module(directory: Path, head: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """The model with that head ("": the encoder alone), and what transformers says of its weights' names.

    In fp32 whatever the checkpoint is stored in, unless `dtype` is among the settings, which are of from_pretrained.
    Raises ModelError where it cannot be opened.
    """
    import torch

    settings = {"dtype": torch.float32, **settings}
    with _refusals(f"{directory}: transformers cannot open it"):
        read_configs(directory)
        if not weight_files(directory):
            raise ModelError(f"{directory}: no model.safetensors; this needs the weights of the model.")
        module, info = _class_of(head).from_pretrained(
            directory, use_safetensors=True, output_loading_info=True, **LOCAL, **settings
        )
    return module, info


def new_module(config: Any, head: str, **settings: Any) -> Any:
    """A model of that shape with random weights. settings: of from_config."""
    with _refusals(f"no {head} model of this kind"):
        return _class_of(head).from_config(config, **REFUSING, **settings)


def open_tokenizer(directory: Path) -> Any:
    """The tokenizer as transformers reads it."""
    from transformers import AutoTokenizer

    with _refusals(f"{directory}: transformers cannot open its tokenizer"):
        read_configs(directory)
        return AutoTokenizer.from_pretrained(directory, **LOCAL)


def quiet() -> None:
    """Keep transformers' own progress bars and notices off stderr; bertcli says what matters itself."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _class_of(head: str) -> Any:
    import transformers

    return getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel")


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn whatever transformers raises into a ModelError: a stranger's file can bring it to raise anything."""
    quiet()
    try:
        yield
    except (BertcliError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{what} ({error or type(error).__name__}).") from error

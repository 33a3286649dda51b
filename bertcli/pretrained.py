"""The one door to transformers' `from_pretrained` and `from_config`: nothing else in the package calls them.

Each call refuses a model's own code, takes weights from safetensors alone and opens no network. Left to itself,
transformers asks on stdin whether to trust such code, and takes a line of the data for the answer. Knows no task.
Try: python -c "from bertcli.pretrained import open_tokenizer; from pathlib import Path; open_tokenizer(Path('DIR'))"
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertcli.errors import BertcliError, ModelError
from bertcli.safety import read_configs, weight_files

REFUSING = {"trust_remote_code": False}  # whatever the library's default is, and whatever the environment says
LOCAL = {**REFUSING, "local_files_only": True}
NAMED = {"return_dict": True}  # outputs have names, whatever the config says
WRAPPERS = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}  # what they put before the name of each weight
TOKENS = 7  # of a short text; a number that no size of a block divides


def require_encoder(directory: Path, config: Mapping[str, Any]) -> None:
    """Raise ModelError for a family that generates text: transformers knows by `model_type` what each is trained for.

    config: of the model.
    """
    from transformers.models.auto import modeling_auto as families

    family = config.get("model_type")
    generates = family in families.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES or config.get("is_encoder_decoder")
    continues = family in families.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if generates or (continues and family not in families.MODEL_FOR_MASKED_LM_MAPPING_NAMES):
        what = "has a decoder" if generates else "is trained to go on with a text"
        raise ModelError(
            f"{directory}: a model of type {family} {what}; bertcli is for encoders, which see a whole text at once. "
            "Take one that was trained to fill masks, such as BERT, RoBERTa or ModernBERT."
        )


def open_config(directory: Path, **changes: Any) -> Any:
    """The configuration of a model directory. changes: entries in place of its own."""
    import transformers

    with _refusals(f"{directory}: transformers cannot open it"):
        require_encoder(directory, read_configs(directory).get("config.json") or {})
        return transformers.AutoConfig.from_pretrained(directory, **LOCAL, **NAMED, **changes)


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

    # A config among the settings is one of open_config; beside it, from_pretrained takes no entries of configs.
    settings = {"dtype": torch.float32, **({} if "config" in settings else NAMED), **settings}
    with _refusals(f"{directory}: transformers cannot open it"):
        require_encoder(directory, read_configs(directory).get("config.json") or {})
        if not weight_files(directory):
            raise ModelError(f"{directory}: no model.safetensors; this needs the weights of the model.")
        module, info = _class_of(head).from_pretrained(
            directory, use_safetensors=True, output_loading_info=True, **LOCAL, **settings
        )
    for prefix, wrapper in WRAPPERS.items():
        if any(name.startswith(prefix) for name in info["unexpected_keys"]):
            raise ModelError(
                f"{directory}: the names of its weights begin with {prefix}, as {wrapper} leaves them; save the model "
                f"inside instead: MODEL.{prefix}save_pretrained(DIR)."
            )
    _keep_attention(module)
    _require_short_texts(directory, module, head)
    _drop_pooler(module, head)
    return module, info


def new_module(config: Any, head: str, **settings: Any) -> Any:
    """A model of that shape with random weights. settings: of from_config."""
    with _refusals(f"no {head} model of this kind"):
        module = _class_of(head).from_config(config, **REFUSING, **settings)
    _keep_attention(module)
    _drop_pooler(module, head)
    return module


def open_tokenizer(directory: Path) -> Any:
    """The tokenizer as transformers reads it."""
    from transformers import AutoTokenizer

    with _refusals(f"{directory}: transformers cannot open its tokenizer"):
        read_configs(directory)
        return AutoTokenizer.from_pretrained(directory, **LOCAL)


def has_class(name: str) -> bool:
    """Whether transformers has a class of that name, in one of the forms that it had."""
    import transformers

    return any(hasattr(transformers, name + ending) for ending in ("", "Fast"))


def quiet() -> None:
    """Keep transformers' own progress bars and notices off stderr; bertcli says what matters itself."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _class_of(head: str) -> Any:
    import transformers

    return getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel")


def _keep_attention(module: Any) -> None:
    """Make each batch choose its attention anew.

    transformers' Big Bird changes from block-sparse to full attention for good at the first short text, so that a long
    text after it is read otherwise than by itself.
    """
    base = module.base_model
    if getattr(base, "attention_type", "") == "block_sparse":
        base.register_forward_pre_hook(lambda part, _: part.set_attention_type("block_sparse"))


def _drop_pooler(module: Any, head: str) -> None:
    """Take BERT's next-sentence layer from an encoder alone: it is no part of it, and often not in the checkpoint.

    SqueezeBERT and LayoutLM call theirs whatever it is, so one is there that gives nothing. ALBERT and Big Bird look
    whether there is theirs, a linear layer, and take what it gives.
    """
    import torch

    if head or getattr(module, "pooler", None) is None:
        return
    if isinstance(module.pooler, torch.nn.Linear):
        module.pooler = None
    else:
        module.pooler = torch.nn.Identity()
        module.pooler.forward = lambda hidden: None


def _require_short_texts(directory: Path, module: Any, head: str) -> None:
    """Raise ModelError for a model that cannot read a text of a few tokens as it is, without filling it up.

    An encoder alone must give a vector of each token, which those of DPR do not.
    """
    import torch

    is_training = module.training
    try:
        ids = torch.arange(TOKENS) % module.config.vocab_size
        ids[ids == (-1 if module.config.pad_token_id is None else module.config.pad_token_id)] = 1
        with torch.no_grad():
            outputs = module.eval()(input_ids=ids[None].to(module.device))
    except Exception as error:
        raise ModelError(
            f"{directory}: a {type(module).__name__} of these settings cannot read a text by itself "
            f"({str(error).splitlines()[0]})."
        ) from error
    finally:
        module.train(is_training)
    if not head and "last_hidden_state" not in outputs:
        raise ModelError(f"{directory}: a {type(module).__name__} gives {', '.join(outputs)}, no vectors of tokens.")


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

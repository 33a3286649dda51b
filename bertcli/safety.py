"""What of a model directory may be opened: no code, no pickle, no path that leaves it, no file that is half there.

What a model's files say is a stranger's word. `read_configs` is the one door: whoever opens a model directory passes
it, before any library does. `pretrained.py` then refuses a model's code once more, in each call into transformers.
Knows files and values, not what a model is.
Try: python -c "from bertcli.safety import read_configs; from pathlib import Path; print(read_configs(Path('DIR')))"
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bertcli.errors import ModelError

REQUIRED = ("config.json", "tokenizer_config.json")  # those that bertcli reads itself: they must be good JSON
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LFS = b"version https://git-lfs"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
LARGEST_HEADER = 100_000_000  # bytes, of a safetensors file; its library takes no more either
SHOWN = 60  # characters of a bad value in a message
LIMITS = {  # the most that a number of config.json may be: a larger one only fills memory or takes for ever
    "num_labels": 10**6, "vocab_size": 10**8, "max_position_embeddings": 10**8, "type_vocab_size": 10**6,
    "hidden_size": 10**6, "intermediate_size": 10**7, "num_attention_heads": 10**5, "num_hidden_layers": 10**4,
    "pad_token_id": 10**8, "dim": 10**6, "n_layers": 10**4, "n_layer": 10**4, "num_layers": 10**4,
    "exit_after": 10**4,
}  # fmt: skip
READINGS = [  # where sentence-transformers says how its encoder reads a text; the first that is there
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
KINDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {  # what bertcli itself reads, by file; null is as good as absent
    "config.json": {
        "id2label": (dict,), "architectures": (list,), "model_type": (str,), "problem_type": (str,),
        "sentence_transformers": (dict,), "sbert_ce_default_activation_function": (str,),
        "calibration": (dict,), "null_threshold": (int, float), **dict.fromkeys(LIMITS, (int,)),
    },
    "tokenizer_config.json": {
        "model_max_length": (int, float), "do_lower_case": (bool,), "strip_accents": (bool,),
        "tokenize_chinese_chars": (bool,), "tokenizer_class": (str,), "added_tokens_decoder": (dict,),
        "add_prefix_space": (bool,),
    },
    **{name: {"max_seq_length": (int,), "do_lower_case": (bool,)} for name in READINGS},
    "config_sentence_transformers.json": {
        "prompts": (dict,), "default_prompt_name": (str,), "truncate_dim": (int,), "activation_fn": (str,),
    },
}  # fmt: skip
NAMES = {  # of a type, for people
    dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true or false",
}  # fmt: skip


def read_configs(directory: Path) -> dict[str, Any]:
    """All files of a directory whose names say that they configure something, by name, parsed.

    Raises ModelError for one that names code, for a path that leaves the directory, for an adapter without its base
    model, and for values of another type than they must have.
    """
    configs = {}
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    for file in files:
        # By any spelling: on some disks config.json is also the name of CONFIG.JSON.
        if file.suffix.lower() == ".json" and "config" in file.name.lower() and file.is_file():
            try:
                configs[file.name] = read_json(file)
            except ModelError:
                if file.name in REQUIRED:  # the others no library can read either
                    raise
    for name, config in configs.items():
        require_config(directory / name, config)
    if "adapter_config.json" in configs:
        raise ModelError(
            f"{directory}: adapter_config.json says that this is an adapter, not a whole model. Merge it into its base "
            "where you have peft: merge_and_unload(), then save_pretrained to a new directory."
        )
    # The files that libraries would open by a config's word must not be outside.
    config, tokenizer = configs.get("config.json") or {}, configs.get("tokenizer_config.json") or {}
    weights = config.get("transformers_weights")
    if weights and inside(directory, weights, "config.json").suffix != ".safetensors":
        raise ModelError(f"{directory / 'config.json'}: transformers_weights is {_shown(weights)}, no safetensors.")
    for name, key, named in (
        ("config.json", "configuration_files", config.get("configuration_files") or []),
        ("tokenizer_config.json", "fast_tokenizer_files", tokenizer.get("fast_tokenizer_files") or []),
    ):
        if not isinstance(named, list):
            raise ModelError(f"{directory / name}: {key} is {_shown(named)}, not a list.")
        for path in named:
            inside(directory, path, name)
    if inputs := tokenizer.get("init_inputs"):
        raise ModelError(
            f"{directory / 'tokenizer_config.json'}: init_inputs is {_shown(inputs)}; what a tokenizer is made of lies "
            "in the model's directory. Delete init_inputs from a copy."
        )
    return configs


def require_config(file: Path, config: Any, name: str = "") -> None:
    """Raise ModelError for a config that names code of the model's own, or has values that it cannot have.

    name: of the file that it stands for, where its own is another.
    """
    for key, value in _entries(config):
        if key == "auto_map" and value:
            raise ModelError(
                f"{file.parent}: {file.name} has an auto_map, which names Python code of the model's own; bertcli "
                "never runs such code. Where transformers has this type of model itself, delete auto_map from a copy; "
                "else take another model."
            )
        texts = [value, *(text for _, text in _entries(value))] if key.endswith("_implementation") else []
        if any(isinstance(text, str) and "/" in text for text in texts):
            raise ModelError(
                f"{file.parent}: {file.name} says {key}: {_shown(value)}, which names code on the Hub; bertcli never "
                f"runs a model's own code. Delete {key} from a copy."
            )
    if kinds := KINDS.get(name or file.name):
        _require_values(file, config, kinds)


def read_json(file: Path) -> Any:
    """The JSON in a file; None where the file is not there. Raises ModelError where it is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        require_whole(file)
        raise ModelError(f"{file}: cannot be read ({error}).") from error


def inside(directory: Path, name: Any, file: str) -> Path:
    """The path in a directory that a file of a model names. Raises ModelError for one that is none, or leads out."""
    paths = (PurePosixPath(name), PureWindowsPath(name)) if isinstance(name, str) and "\0" not in name else ()
    if not paths or any(path.drive or path.root or ".." in path.parts for path in paths):
        raise ModelError(
            f"{directory / file}: it names {_shown(name)}; bertcli opens only files inside the model's directory."
        )
    return directory / str(name)


def weight_files(directory: Path) -> list[Path]:
    """The safetensors of a checkpoint, all of them whole; none where it has none.

    Raises ModelError for an index that names anything else, and for a file that is not whole.
    """
    files = [directory / WEIGHTS]
    if not files[0].is_file():
        index = read_json(directory / INDEX)
        if index is None:
            return []
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict):
            raise ModelError(f"{directory / INDEX}: no weight_map, so it names no weights; download it again.")
        names = dict.fromkeys(shards.values()) if all(isinstance(name, str) for name in shards.values()) else [shards]
        files = [inside(directory, name, INDEX) for name in names]
        if others := [file.name for file in files if file.suffix != ".safetensors"]:
            raise ModelError(
                f"{directory / INDEX}: it names {_shown(others[0])}; weights are read from safetensors only, for a "
                "pickle can run code. Convert the checkpoint where you trust it, with save_pretrained."
            )
        if lacking := [file for file in files if not file.is_file()]:
            raise ModelError(f"{lacking[0]}: not there, though {INDEX} names it; download the model again.")
    for file in files:
        require_whole(file)
    return files


def require_name(directory: Path) -> None:
    """Raise ModelError for a model's directory that safetensors and tokenizers cannot open: they know UTF-8 alone."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        raise ModelError(f"{directory}: the name of a model's directory must be UTF-8; rename it.") from None


def require_whole(file: Path) -> None:
    """Raise ModelError for a Git LFS pointer in place of a file, and for safetensors that are cut off."""
    try:
        with file.open("rb") as content:
            head = content.read(len(LFS))
            if head == LFS:
                raise ModelError(
                    f"{file}: a Git LFS pointer, not the file itself; fetch it where it was cloned: git lfs pull"
                )
            if file.suffix == ".safetensors":
                content.seek(0)
                wanted, size = _end_of_tensors(content.read(8), content), file.stat().st_size
                if wanted > size:
                    raise ModelError(f"{file}: cut off: {size:,} bytes are there of {wanted:,}; download it again.")
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file}: not a safetensors file ({error}); download it again.") from error


def _end_of_tensors(length: bytes, content: Any) -> int:
    """The size that a safetensors file says it has: 8 bytes of length, a header in JSON, tensors as it places them."""
    size = int.from_bytes(length, "little")
    if len(length) < 8:
        return 8
    if size > LARGEST_HEADER:
        raise ValueError(f"its header would have {size:,} bytes")
    header = content.read(size)
    if len(header) < size:
        return 8 + size
    ends = [entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"]
    return 8 + size + max(ends, default=0)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object in parsed JSON, with its value, at any depth."""
    pending = [value]  # a list, not recursion: a hostile file may be as deep as the parser takes
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from value.items()
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _require_values(file: Path, config: Any, kinds: Mapping[str, tuple[type, ...]]) -> None:
    """Raise ModelError with the key and the value for one of a wrong type, or out of all proportion."""
    if not isinstance(config, dict):
        raise ModelError(f"{file}: not a JSON object.")
    for key, types in kinds.items():
        value = config.get(key)
        if value is None:
            continue
        is_bool, is_nan = isinstance(value, bool), isinstance(value, float) and math.isnan(value)
        if not isinstance(value, types) or (is_bool and bool not in types) or is_nan:
            raise ModelError(f"{file}: {key} is {_shown(value)}, not {NAMES[types[-1]]}.")
        if key in LIMITS and isinstance(value, int) and not -1 <= value <= LIMITS[key]:
            raise ModelError(f"{file}: {key} is {_shown(value)}; at most {LIMITS[key]:,} makes sense.")
    if not all(isinstance(name, str) for name in config.get("architectures") or []):
        raise ModelError(f"{file}: architectures is {_shown(config['architectures'])}, not a list of names.")
    if config.get("quantization_config"):
        raise ModelError(
            f"{file}: quantization_config says that the weights are quantised, which bertcli does not open; take the "
            "checkpoint that it was made from."
        )
    names = config.get("id2label") or {}
    for key, name in names.items():
        if not (key.isascii() and key.isdecimal()):
            raise ModelError(f"{file}: id2label has the key {_shown(key)}, which is no whole number.")
        if not isinstance(name, str | int | float):
            raise ModelError(f"{file}: id2label has {_shown(name)} for {key}, which is no name.")
    if len({int(key) for key in names}) < len(names):
        raise ModelError(f"{file}: id2label has an id twice, as 1 and 01.")


def _shown(value: Any) -> str:
    """A value for a message: quoted, without control characters, not long."""
    text = ascii(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

"""A model directory in the Hugging Face layout: find it by path or Hub name, and say what is in it.

Knows files, not tensors: opening the weights is a backend's work. `-m` takes a directory, a Hub name, or nothing
for the embedded model. Weights are read from safetensors or ONNX only, never from a pickle.
Try: bertcli info -m DIR
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bertcli import safety
from bertcli.errors import ModelError

BUILTIN = Path(__file__).parent / "builtin"
ONNX = {"int8": "onnx/model_quantized.onnx", "fp32": "onnx/model.onnx"}
REST = {"int8": "onnx/model_quantized_rest.onnx", "fp32": "onnx/model_rest.onnx"}  # of the layers after an early exit
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
POOLINGS = {  # the first form is that of sentence-transformers 6
    "mean": "mean", "cls": "cls", "max": "max",
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max",
}  # fmt: skip
MODULES = {"Transformer", "Pooling", "Normalize"}  # of sentence-transformers, that bertcli computes
DECISIVE = (  # files besides the weights that decide what a model answers
    "config.json", "tokenizer*", "vocab.*", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json",
    "modules.json", "sentence_*_config.json",
    "*_Pooling/config.json", "config_sentence_transformers.json", "exit.safetensors",
)  # fmt: skip
SENTENCE = "config_sentence_transformers.json"
EXTERNAL = "_data"  # suffix of the file beside an ONNX file that holds its tensors, as it must for over 2 GB
HUB_FILES = [
    "*.json", "*.txt", "*.model", "*.safetensors", "README.md",
    *(name + ending for files in (ONNX, REST) for name in files.values() for ending in ("", EXTERNAL)),
]  # fmt: skip
HEAD = re.compile(r"For([A-Z]\w*?)(?:Simple)?$")  # RoFormerForMaskedLM, XLMForQuestionAnsweringSimple


@dataclass(frozen=True)
class Model:
    """A directory with a readable config.json.

    onnx: a cache folder with its ONNX files, which are then not in the directory. names: of these files by precision.
    """

    path: Path
    config: dict[str, Any]
    onnx: Path | None = None
    names: Mapping[str, str] = field(default_factory=lambda: ONNX)

    @property
    def name(self) -> str:
        """The directory's name, of what was fetched from the Hub the name there, or what says that it is embedded."""
        if self.path.parent == BUILTIN:
            return "the embedded model"
        *_, folder, snapshots, name = ("", "", *self.path.absolute().parts)
        if snapshots == "snapshots" and folder.startswith("models--"):  # models--ORGANISATION--NAME
            return folder.removeprefix("models--").replace("--", "/")
        return name

    @property
    def labels(self) -> list[str]:
        """Label names in the order of their ids; empty if config.json has none."""
        return names_of(self.config)

    @property
    def head(self) -> str:
        """The transformers class suffix: `SequenceClassification` of `BertForSequenceClassification`; "" for none."""
        architecture = (self.config.get("architectures") or [""])[0]
        if architecture.endswith("WithLMHeadModel"):  # XLM and FlauBERT, whose objective is BERT's
            return "MaskedLM"
        head = HEAD.search(architecture)
        return head[1] if head else ""

    def onnx_file(self, precision: str) -> Path | None:
        """The ONNX file of a precision (int8, fp32), if there is one."""
        file = (self.onnx or self.path) / self.names[precision]
        return file if file.is_file() else None

    def precisions(self, head: str) -> list[str]:
        """The precisions of its ONNX files for this head. A file in the cache is always for the head of the run."""
        return [name for name in ONNX if (self.onnx or self.head == head) and self.onnx_file(name)]

    @property
    def rest(self) -> "Model":
        """The layers after an early exit, which have ONNX files of their own."""
        return replace(self, names=REST)

    def require_onnx(self, precision: str) -> tuple[str, Path]:
        """The precision to compute in, and its ONNX file. auto: int8 if there is one, else fp32. bf16: the fp32 file.

        Raises ModelError where there is none.
        """
        precisions = ("int8", "fp32") if precision == "auto" else (precision,)
        for precision in precisions:
            if file := self.onnx_file("fp32" if precision == "bf16" else precision):
                safety.require_whole(file)
                return precision, file
        names = " or ".join(precisions)
        raise ModelError(
            f"{self.path}: no ONNX file in {names}; `bertcli export {self.path}` writes one beside the weights, "
            "`bertcli predict --backend onnx` into a cache."
        )

    def weights(self) -> dict[str, str]:
        """The files that a backend may open, with their sizes."""
        names = [*ONNX.values(), *REST.values()]
        onnx = [self.path / (name + ending) for name in names for ending in ("", EXTERNAL)]
        files = [*sorted(self.path.glob("*.safetensors")), *onnx]
        sizes = {file: file.stat().st_size for file in files if file.is_file()}
        return {str(file.relative_to(self.path)): f"{size / 1e6:.1f} MB" for file, size in sizes.items()}

    @property
    def layers(self) -> int:
        """The number of layers, by any of its names in config.json, else 0."""
        names = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
        return next((self.config[name] for name in names if self.config.get(name)), 0)

    @property
    def licence(self) -> str:
        """The licence in the front matter of its card, else ""."""
        card = self.path / "README.md"
        front = card.read_text(encoding="utf-8", errors="replace").split("---")[1:2] if card.is_file() else []
        lines = [line.partition(":") for text in front for line in text.splitlines()]
        return next((value.strip(" '\"") for name, _, value in lines if name.strip() == "license"), "")

    @property
    def has_weights(self) -> bool:
        """Whether there are safetensors that transformers can open."""
        return any((self.path / name).is_file() for name in (safety.WEIGHTS, safety.INDEX))

    def require_weights(self) -> None:
        """Raise ModelError unless it has complete safetensors; for a pickle the message says how to convert it."""
        if safety.weight_files(self.path):
            return
        pickle = next((name for name in PICKLES if (self.path / name).is_file()), None)
        if pickle:
            name = f"AutoModelFor{self.head}" if self.head else "AutoModel"
            raise ModelError(
                f"{self.path}: the weights are a pickle ({pickle}), which can run code and is never opened. "
                'Convert it where you trust it: python -c "from transformers '
                f"import {name}; {name}.from_pretrained('{self.path}').save_pretrained('{self.path}')\""
            )
        where, others = "", sorted(self.path.rglob("*.onnx"))
        if others and not any(map(self.onnx_file, ONNX)):
            there = others[0].relative_to(self.path)
            where = f" bertcli reads {' and '.join(ONNX.values())}; there is {there}, which may be moved."
        raise ModelError(f"{self.path}: no model.safetensors; this needs the weights of the model.{where}")

    @property
    def activation(self) -> str:
        """The activation on the score of a sentence-transformers CrossEncoder, by its name in torch, else ""."""
        files = (safety.read_json(self.path / SENTENCE) or {}, self.config.get("sentence_transformers") or {})  # 6, 4
        stated = next((file["activation_fn"] for file in files if file.get("activation_fn")), None)
        return stated or self.config.get("sbert_ce_default_activation_function") or ""  # the last as 3 wrote it

    @property
    def sentence(self) -> dict[str, Any]:
        """What a sentence-transformers directory says of its vectors, {} for another directory.

        Keys: pooling (mean, cls or max), normalize, lowercase, max_length, dimensions, prompts (texts by name), prompt
        (the name of the default one); the last four are None or empty if it does not say. Raises ModelError for another
        pooling, for layers after it, such as Dense, and if the encoder is in a folder of its own.
        """
        folders = self.require_sentence_steps()
        readings = (safety.read_json(self.path / name) for name in safety.READINGS)
        reading: dict[str, Any] = next(filter(None, readings), {})
        if "Pooling" not in folders:
            if folders and reading.get("module_output_name") == "sentence_embedding":
                raise ModelError(f"{self.path}: its vectors are its encoder's own pooler_output, which bertcli lacks.")
            return {}
        stated = safety.read_json(folders["Pooling"] / "config.json") or {}
        if not isinstance(stated, dict):
            raise ModelError(f"{folders['Pooling'] / 'config.json'}: not a JSON object.")
        modes = [name for name, value in stated.items() if name.startswith("pooling_mode_") and value]
        if mode := stated.get("pooling_mode"):
            modes = list(map(str, mode)) if isinstance(mode, list) else [str(mode)]
        if len(modes) != 1 or modes[0] not in POOLINGS:
            raise ModelError(f"{self.path}: bertcli pools by mean, cls or max, not by {', '.join(modes) or 'nothing'}.")
        more = safety.read_json(self.path / SENTENCE) or {}
        prompts = more.get("prompts") or {}
        if any(prompts.values()) and stated.get("include_prompt") is False:
            raise ModelError(f"{self.path}: its vectors leave out the tokens of its prompts, which bertcli cannot.")
        return {
            "pooling": POOLINGS[modes[0]], "normalize": "Normalize" in folders,
            "max_length": reading.get("max_seq_length"), "lowercase": reading.get("do_lower_case", False),
            "dimensions": more.get("truncate_dim"), "prompts": prompts, "prompt": more.get("default_prompt_name"),
        }  # fmt: skip

    def require_sentence_steps(self) -> dict[str, Path]:
        """`sentence_folders`. Raises ModelError for a step that bertcli lacks, or an encoder in a folder of its own."""
        folders, root = self.sentence_folders, self.path
        if root.name.startswith("0_"):  # Older versions put the encoder into a folder 0_….
            outer = replace(self, path=root.parent).sentence_folders
            folders, root = (outer, root.parent) if outer.get("Transformer") == root else (folders, root)
        if others := folders.keys() - MODULES:
            raise ModelError(f"{root}: its vectors pass through {', '.join(sorted(others))}, which bertcli lacks.")
        if folders.get("Transformer", root) != root:
            raise ModelError(
                f"{root}: modules.json says that its encoder is in {folders['Transformer'].name}; to have it beside "
                f'modules.json, save the model anew: python -c "from sentence_transformers import '
                f"SentenceTransformer; SentenceTransformer('{root}').save('NEW')\""
            )
        return folders

    @property
    def sentence_folders(self) -> dict[str, Path]:
        """The folder of each step of a sentence-transformers model, by its class; {} without a modules.json.

        Raises ModelError for a step without a class, for one of the model's own code, and for a folder outside.
        """
        file = self.path / "modules.json"
        folders: dict[str, Path] = {}
        modules = safety.read_json(file) or []
        if not isinstance(modules, list):
            raise ModelError(f"{file}: not a JSON list.")
        for module in modules:
            name = module.get("type") if isinstance(module, dict) else None
            if not isinstance(name, str):
                raise ModelError(f"{file}: a step is of type {name!r}, which is no name of a class.")
            if not name.startswith("sentence_transformers."):
                raise ModelError(
                    f"{self.path}: modules.json has a step {name!r:.60}, no class of sentence-transformers but "
                    "code of the model's own; bertcli never runs such code. Take another model."
                )
            folders[name.rpartition(".")[2]] = safety.inside(self.path, module.get("path"), file.name)
        return folders


def names_of(config: Mapping[str, Any]) -> list[str]:
    """The label names in the order of their ids: id2label's, else transformers' defaults for num_labels, else none.

    A repeated name gets its id appended, because the two are still different labels.
    """
    stated = config.get("id2label") or {f"{i}": f"LABEL_{i}" for i in range(config.get("num_labels") or 0)}
    names: dict[str, None] = {}
    for key in sorted(stated, key=int):
        name = str(stated[key])
        names[f"{name} ({key})" if name in names else name] = None
    return list(names)


def resolve(name: str | None, task: str = "text-classification") -> Model:
    """Open `name` (a directory, else a Hub name), or for None the embedded model of the task.

    Raises ModelError with what is missing and what to do.
    """
    if name is None:
        if not (BUILTIN / task).is_dir():
            raise ModelError(f"no model is embedded for {task}; name one with -m.")
        return read(BUILTIN / task)
    path = Path(name)
    if path.is_dir():
        return read(path)
    if path.exists():
        raise ModelError(f"{name} is a file; -m takes a model directory or a Hub name.")
    return read(_download(name))


def read(path: Path) -> Model:
    """Read the config.json of a model directory.

    Raises ModelError if there is none, for invalid values, and for whatever safety.py refuses.
    """
    safety.require_name(path)
    configs = safety.read_configs(path)
    if "config.json" not in configs:
        Model(path, {}).require_sentence_steps()  # says where sentence-transformers has put it
        raise ModelError(f"{path}: no config.json, so this is not a model directory.")
    return Model(path, configs["config.json"])


def fingerprint(model: Model, weights: str) -> str:
    """A digest of what decides the results: config, tokenizer, and the weights whose names match (`*.onnx`)."""
    from hashlib import blake2b, file_digest

    digest = blake2b(digest_size=16)
    for folder in filter(None, (model.path, model.onnx)):
        for file in (file for pattern in (*DECISIVE, weights) for file in sorted(folder.rglob(pattern))):
            digest.update(f"{file.relative_to(folder)}\0".encode())
            with file.open("rb") as content:
                digest.update(file_digest(content, "sha256").digest())
    return digest.hexdigest()


def update(model: Model, changes: Mapping[str, Any]) -> None:
    """Change entries of a model's config.json atomically."""
    file = model.path / "config.json"
    draft = file.with_suffix(".tmp")
    try:
        draft.unlink(missing_ok=True)  # it could be a link that leads elsewhere
        draft.write_text(json.dumps({**model.config, **changes}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ModelError(f"{file}: cannot be written ({error.strerror}).") from error


@cache
def _download(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    missing = f"'{name}' is neither a directory nor a model on the Hub"
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (HFValidationError, RepositoryNotFoundError):
        raise ModelError(f"{missing}.") from None
    except LocalEntryNotFoundError:
        why = " (HF_HUB_OFFLINE forbids the network)" if constants.HF_HUB_OFFLINE else ""
        raise ModelError(f"{missing} that is reachable or cached here{why}.") from None
    except OSError as error:
        raise ModelError(f"{missing} that can be reached ({error}).") from error
    except RuntimeError as error:  # of a user without a home
        raise ModelError(f"{missing} that can be kept here ({error}); HF_HOME names a folder for it.") from error

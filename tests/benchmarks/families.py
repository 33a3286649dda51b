"""What bertcli does with the checkpoints of each model family, as a table: "ok", or the refusal in one sentence.

    python tests/benchmarks/families.py [FAMILY...] [--task TASK] >table.md

Every family of transformers that is an encoder, and some that are none, as a tiny random checkpoint that is made here;
a path in place of a family's name is a checkpoint of its own. Needs no network. Some ten minutes on two cores for all.
"""

import contextlib
import copy
import io
import json
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

WORDPIECE = (
    "bert big_bird convbert deberta distilbert electra ernie flaubert fnet funnel megatron-bert mobilebert "
    "mpnet nomic_bert nystromformer mra rembert roformer squeezebert xlm yoso"
)
BYTE_LEVEL = "data2vec-text ibert longformer luke modernbert roberta roberta-prelayernorm bart gpt2 llama qwen3"
UNIGRAM = "albert camembert deberta-v2 esm gte jina_embeddings_v3 xlm-roberta xlm-roberta-xl xmod t5 xlnet"
FAMILIES = sorted((WORDPIECE + " " + BYTE_LEVEL + " " + UNIGRAM).split())
COLUMNS = ("finetune", "export", "equal", "int8", "explain", "attention", "pretrain", "saved")
CLOSE = 1e-5  # of two scores
POSITIONS = 40
SENTENCES = [
    "a good film , lovely and fine .", "the plot is dull and poor", "Not a very good actor", "an awful scene !",
    "great", "The film was bad , and the actor was poor , but one scene is great .",
]  # fmt: skip
LONG = " ".join(SENTENCES * 4)
SHAPE = {  # what families call it -> the number of it in a tiny model
    "hidden_size": 32, "dim": 32, "emb_dim": 32, "d_model": 32, "n_embd": 32, "embedding_size": 32,
    "input_embedding_size": 32, "output_embedding_size": 32, "d_head": 8, "head_dim": 8, "d_kv": 8,
    "num_hidden_layers": 2, "n_layers": 2, "n_layer": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_decoder_layers": 2, "num_attention_heads": 4, "n_heads": 4, "n_head": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 64,
    "hidden_dim": 64, "d_inner": 64, "d_ff": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "n_inner": 64,
    "block_sizes": [1, 1], "block_repeats": [1, 1], "attention_window": 8, "block_size": 4, "num_random_blocks": 1,
    "pooler_hidden_size": 32, "segment_means_seq_len": 40, "num_landmarks": 4, "conv_kernel_size": 3,
    "bottleneck_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16, "num_feedforward_networks": 1,
    "entity_emb_size": 16,
    "entity_vocab_size": 10, "languages": ["en_XX"], "default_language": "en_XX", "global_attn_every_n_layers": 2,
    "approx_mode": "full", "token_dropout": False, "tpu_short_seq_length": POSITIONS, "lora_rank": 2,
}  # fmt: skip


def tokenizer_of(family: str) -> Any:
    """A tokenizer of the kind that the family has, trained on the sentences."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    is_bert = family in WORDPIECE.split()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] if is_bert else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pad, unknown, begin, end, mask = names if is_bert else (names[i] for i in (1, 3, 0, 2, 4))
    trainer: Any
    if is_bert:
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token=unknown))
        backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=names, show_progress=False)
    elif family in UNIGRAM.split():
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=100, special_tokens=names, unk_token=unknown, show_progress=False)
    else:
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=names, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
    backend.train_from_iterator(SENTENCES * 20, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1" if is_bert else f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(token, backend.token_to_id(token)) for token in (begin, end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, unk_token=unknown, cls_token=begin, sep_token=end, mask_token=mask,
        bos_token=begin, eos_token=end,
    )  # fmt: skip


def make(family: str, path: Path, head: str = "MaskedLM", **changes: Any) -> Path:
    """A tiny random checkpoint: two layers of width 32, with the head of its pre-training."""
    import torch
    import transformers
    from transformers import AutoConfig

    words = tokenizer_of(family)
    config = AutoConfig.for_model(family)
    stated = config.to_dict()
    shape = {
        name: value
        for name, value in SHAPE.items()
        if name in stated and (stated[name] is not None or name == "default_language")
    }
    if "block_sizes" in shape:
        shape["num_decoder_layers"] = 1
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("pad", "bos", "eos", "cls", "sep")}
    extra = (1 if family == "mpnet" else words.pad_token_id) + 1 if family in PADDED else 0
    positions = {"max_position_embeddings": POSITIONS + extra} if "max_position_embeddings" in stated else {}
    if isinstance(stated.get("attention_window"), list):
        shape["attention_window"] = [8, 8]
    values = {**stated, **shape, **positions, **ids, "vocab_size": len(words), **changes}
    values["mask_token_id"] = words.mask_token_id
    values.pop("layer_types", None)
    config = AutoConfig.for_model(**values)
    torch.manual_seed(0)
    auto: Any = getattr(transformers, f"AutoModelFor{head}")
    if type(config) not in auto._model_mapping:
        auto = transformers.AutoModelForCausalLM if head == "MaskedLM" else transformers.AutoModel
    if type(config) not in auto._model_mapping:
        auto = transformers.AutoModelForSeq2SeqLM
    module = auto.from_config(config)
    with torch.no_grad():  # the usual 0.02 would leave all scores near each other
        for name, weight in module.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.normal_(0, 0.2)
    module.save_pretrained(path)
    words.save_pretrained(path)
    return path


PADDED = set(  # whose positions count from the padding id + 1
    "camembert data2vec-text esm ibert jina_embeddings_v3 longformer luke mpnet roberta roberta-prelayernorm "
    "xlm-roberta xlm-roberta-xl xmod".split()
)


@dataclass
class Matrix:
    """The cells of one family, filled from left to right. folder: of its own, for models and texts."""

    family: str
    folder: Path
    task: str = "text-classification"
    cells: dict[str, str] = field(default_factory=dict)

    def fill(self) -> dict[str, str]:
        """Run everything."""
        base = Path(self.family) if os.sep in self.family else make(self.family, self.folder / "base")
        model, texts = self.folder / "model", self.folder / "texts.txt"
        texts.write_text("\n".join([*SENTENCES, LONG]) + "\n")
        train = self.folder / "train.tsv"
        rows = [f"{text}\t{'pos' if i % 2 else 'neg'}\n" for i, text in enumerate([*SENTENCES, LONG])]
        train.write_text("text\tlabel\n" + "".join(rows))
        self.cells["finetune"] = self.run(
            "finetune", "-m", base, "--train", train, "--dev", train, "-o", model, "--epochs", "1", "--no-export",
            "--precision", "fp32", "-t", self.task, "--device", "cpu",
        )  # fmt: skip
        if self.cells["finetune"] == "ok":
            self.after_training(model, texts)
        self.cells["pretrain"] = self.run(
            "pretrain", texts, "-m", base, "-o", self.folder / "pretrained", "--steps", "2", "--lengths", "24",
            "--precision", "fp32", "--cache", self.folder / "cache", "--dev-tokens", "0", "--device", "cpu",
        )  # fmt: skip
        return self.cells

    def after_training(self, model: Path, texts: Path) -> None:
        """All columns that need the fine-tuned model."""
        self.cells["export"] = self.run("export", model, "--calibrate", texts)
        torch, error = self.scores(model, texts, "--backend", "pytorch")
        rows = {"transformers": self.reference(model)} if torch else {}
        if self.cells["export"] == "ok":
            onnx, error = (
                self.scores(model, texts, "--backend", "onnx", "--precision", "fp32") if torch else ({}, error)
            )
            rows["onnx"] = onnx
            _, int8 = self.scores(model, texts, "--backend", "onnx", "--precision", "int8")
            self.cells["int8"] = int8 or "ok"
        off = {name: _distance(torch, other) for name, other in rows.items()}
        wrong = ", ".join(f"{name} is {value:.2g} off" for name, value in off.items() if not value <= CLOSE)
        self.cells["equal"] = error or wrong or ("ok" if "onnx" in rows else "ok (torch)")
        self.cells["explain"] = self.run("explain", SENTENCES[0], "-m", model)
        self.cells["attention"] = self.run("explain", SENTENCES[0], "-m", model, "--attention")
        self.cells["saved"] = self.saved(model, texts, torch)

    def run(self, *arguments: object) -> str:
        """ "ok", or what the command says that failed."""
        return self.call(*arguments)[0]

    def call(self, *arguments: object) -> tuple[str, str]:
        """The same, and its output."""
        from bertcli.cli.main import run

        out, err = io.StringIO(), io.StringIO()
        out.buffer, err.buffer = io.BytesIO(), io.BytesIO()  # type: ignore[misc]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = run([str(argument) for argument in arguments])
        text = err.getvalue() + err.buffer.getvalue().decode()  # type: ignore[attr-defined]
        said = [line for line in text.splitlines() if line.strip()]
        what = "ok" if code == 0 else f"exit {code}: {said[-1] if said else ''}"
        what = what.replace(str(self.folder), "DIR").replace("bertcli: ", "")
        return what, out.getvalue() + out.buffer.getvalue().decode()  # type: ignore[attr-defined]

    def scores(self, model: Path, texts: Path, *more: str) -> tuple[dict[str, list[float]], str]:
        """The scores of each text, as predict gives them, and what it says where it fails."""
        output = self.folder / "scores.jsonl"
        result = self.run(
            "predict", texts, "-m", model, "-t", self.task, "--all-scores", "--device", "cpu", "-o", output, "--force",
            "--long", "truncate", *more,
        )  # fmt: skip
        if result != "ok":
            return {}, result
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        return {row["text"]: [row["scores"][name] for name in sorted(row["scores"])] for row in rows}, ""

    def reference(self, model: Path) -> dict[str, list[float]]:
        """What transformers gives for each text by itself, with the tokenizer that it reads from the directory."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        words = AutoTokenizer.from_pretrained(model)
        module = AutoModelForSequenceClassification.from_pretrained(model).eval()
        scores = {}
        for text in [*SENTENCES, LONG]:
            inputs = dict(words(text, return_tensors="pt", truncation=True))
            if getattr(module.config, "type_vocab_size", 0) < 2:
                inputs.pop("token_type_ids", None)
            inputs = _accepted(module, inputs)
            with torch.inference_mode():
                logits = copy.deepcopy(module)(**inputs).logits[0]  # Big Bird changes itself at a short text
            names = module.config.id2label
            values = logits.softmax(-1).tolist()
            scores[text] = [
                value for _, value in sorted(zip((names[i] for i in range(len(values))), values, strict=True))
            ]
        return scores

    def saved(self, model: Path, texts: Path, before: dict[str, list[float]]) -> str:
        """Whether the model predicts the same after transformers has read it and written it anew."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        path = self.folder / "saved"
        AutoModelForSequenceClassification.from_pretrained(model).save_pretrained(path)
        AutoTokenizer.from_pretrained(model).save_pretrained(path)
        after, error = self.scores(path, texts, "--backend", "pytorch")
        off = _distance(before, after) if after else math.inf
        return error or ("ok" if off <= CLOSE else f"{off:.2g} off")


def _accepted(module: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    import inspect

    names = inspect.signature(module.forward).parameters
    return {name: value for name, value in inputs.items() if name in names}


def _distance(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    if one.keys() != other.keys() or not one:  # predict failed, which a cell of the table says
        return math.inf
    return max(float(np.abs(np.subtract(one[text], other[text])).max()) for text in one)


def table(families: list[str], folder: Path) -> Iterator[str]:
    """The rows of the table, in Markdown, as they are done."""
    yield "| family | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for family in families:
        path = folder / Path(family).name
        path.mkdir()
        try:
            cells = Matrix(family, path).fill()
        except Exception as error:
            cells = {"finetune": f"this program: {type(error).__name__}: {error}"}
        shutil.rmtree(path)
        yield (
            f"| {Path(family).name} | "
            + " | ".join(cells.get(name, "-").replace("|", "\\|").replace("\n", " ") for name in COLUMNS)
            + " |"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for row in table(sys.argv[1:] or FAMILIES, Path(folder)):
            print(row, flush=True)

"""The settings of a pre-training run, by the names of the command line's options. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from bertcli.errors import UsageError
from bertcli.option import like, option
from bertcli.training.settings import Precision, Schedule, Settings, require_range

Objective = Literal["mlm", "mlm+nsp", "mlm+sop", "causal"]
Mask = Literal["token", "word", "span"]
# layers and width of google-research/bert's published models (Turc et al. 2019, arXiv 1908.08962); 64 to a head
SIZES = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
SIZE, VOCABULARY = "mini", 30_522  # defaults; the second is BERT's
LEAST = 8  # tokens in a block; fewer leave nothing to learn from


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """All that decides the result of a run, besides the corpus. Raises UsageError for what does not go together.

    lengths: tokens in a block, each with its share of the steps. batch_tokens: over all processes; a step takes
    `accumulate` batches. dropout: in this training, None for the model's own; the saved config.json keeps the model's
    own for fine-tuning. eval_steps: None for ten evaluations.
    """

    output: str
    model: str | None = option(None, "Or go on with a checkpoint: directory or Hub name.", "MODEL", flags="-m")
    size: str | None = None
    model_config: str | None = None
    init_embeddings: str | None = None
    tokenizer: str | None = option(None, "The vocabulary of this directory or Hub name.", "DIR")
    vocab_size: int | None = option(
        None, f"Or train one of N pieces.  [default: {VOCABULARY}]", "N", least=1, most=10**7
    )
    lowercase: bool = option(
        True,
        "Whether a vocabulary that is trained drops case and accents as BERT's does.  [default: uncased]",
        flags="--uncased/--cased",
        group="what",
    )
    objective: Objective = option("mlm", "Masked words; with next sentence or sentence order; or next word.")
    mask: Mask = option("token", "What is masked at once: tokens, whole words, or spans of words.", group="what")
    mask_rate: float = option(0.15, "Share of the tokens that is masked.", above=0, below=1, group="what")
    words: str | None = option(
        None, "What finds the words of Chinese: jieba, or a file of words.", "jieba|FILE", group="what"
    )
    lengths: tuple[tuple[int, float], ...] = ((128, 1.0),)
    pack: Literal["document", "across"] = option("document", "Whether a block keeps to one document.", group="what")
    dev_tokens: int = option(
        200_000, "Held out to score on, in whole documents; at most a fiftieth.", least=0, group="data"
    )
    epochs: int = option(1, "Passes over the corpus.", least=1)
    steps: int | None = option(None, "Steps of the optimiser, instead of --epochs.", "N", least=1, group="training")
    batch_tokens: int = like(Settings, "batch_tokens", 4096)
    accumulate: int = like(Settings, "accumulate")
    lr: float = like(Settings, "lr", 5e-4)
    schedule: Schedule = like(Settings, "schedule")
    warmup: float = like(Settings, "warmup")
    weight_decay: float = like(Settings, "weight_decay")
    clip_norm: float = like(Settings, "clip_norm")
    dropout: float | None = option(
        0.0, "Dropout while pre-training; fine-tuning keeps the model's own.", least=0, below=1, group="training"
    )
    eval_steps: int | None = option(
        None, "Steps between evaluations, each with a checkpoint.  [default: a tenth]", "N", least=1, group="training"
    )
    gradient_checkpointing: bool = option(False, "Compute activations twice instead of keeping them.", group="model")
    compile: bool = option(False, "Compile the layers with torch.compile, which pays on a GPU.", group="model")
    precision: Precision = option("auto", "auto: bf16 where CPU or GPU multiply it natively.", group="model")
    seed: int = like(Settings, "seed")

    def __post_init__(self) -> None:
        require_range(self, ("epochs", "steps", "batch_tokens", "accumulate", "eval_steps", "vocab_size"), 1)
        require_range(self, ("mask_rate", "warmup", "dropout"), 0, below=1)
        require_range(self, ("lr", "weight_decay", "clip_norm", "seed", "dev_tokens"), 0)
        for rivals, why in (
            (("model", "size", "model_config"), "each says what the model is"),
            (("model", "tokenizer", "vocab_size"), "each says what the vocabulary is"),
            (("model", "init_embeddings"), "each says where embeddings start"),
        ):
            named = [f"--{name.replace('_', '-')}" for name in rivals if getattr(self, name) is not None]
            if len(named) > 1:
                raise UsageError(f"{' and '.join(named)}: {why}; give one of them.")
        for length, share in self.lengths:
            if length < LEAST or share <= 0:
                raise UsageError(f"--lengths {length}:{share:g}: a length is at least {LEAST}, a share above 0.")
        if abs(sum(share for _, share in self.lengths) - 1) > 1e-6:
            raise UsageError("--lengths: the shares must add up to 1, as in 128:0.9,512:0.1.")
        if self.batch_tokens < self.longest:
            raise UsageError(f"--batch-tokens {self.batch_tokens}: a batch must hold a block of {self.longest} tokens.")
        if self.objective == "causal" and (self.mask != "token" or self.mask_rate != type(self).mask_rate):
            raise UsageError("the causal objective masks nothing; leave out --mask and --mask-rate.")
        if self.words and self.mask == "token":
            raise UsageError(f"--words {self.words}: single tokens are masked; --mask word masks words.")
        if not self.lowercase and (self.model or self.tokenizer):
            raise UsageError("--cased is of a vocabulary that is trained, and --model or --tokenizer has one.")
        if self.objective in ("mlm+nsp", "mlm+sop") and self.pack == "across":
            raise UsageError(f"--pack across: {self.objective} pairs sentences of one document; leave it out.")

    @property
    def longest(self) -> int:
        """Tokens in the longest blocks."""
        return max(length for length, _ in self.lengths)

    def as_dict(self) -> dict[str, object]:
        """Plain values by option name, as YAML and checkpoints keep them; nothing that a subclass adds."""
        values = {field.name: getattr(self, field.name) for field in fields(PretrainSettings)}
        return values | {"lengths": ",".join(f"{length}:{share:g}" for length, share in self.lengths)}

    def saved(self) -> Mapping[str, object]:
        """What bertcli.yaml keeps of a run, by option name. A command, which has more options, keeps these too."""
        return self.as_dict()

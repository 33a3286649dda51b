"""The settings of a pre-training run, by the names of the command line's options. Imports nothing heavy."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from bertcli.errors import UsageError
from bertcli.training.settings import Precision, Schedule, require_range

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
SIZE, VOCABULARY = "mini", 30_522  # where nothing says otherwise; the second as BERT's
LEAST = 8  # tokens in a block: below this there is nothing to learn from


@dataclass(frozen=True)
class PretrainSettings:
    """All that decides the result of a run, besides the corpus. Raises UsageError for what does not go together.

    model: a checkpoint to go on from; else size or model_config gives the shape of a new one, and tokenizer (a
    directory) or vocab_size with lowercase (one to be trained) its vocabulary. lengths: tokens of a block and the share
    of all steps with it. batch_tokens: in a batch, over all processes; a step takes `accumulate` times as many.
    epochs: passes over the corpus, unless steps says how many steps. dropout: None keeps the model's own in training;
    what a saved config.json says of dropout, for fine-tuning, is always the model's own. eval_steps: None for ten
    evaluations.
    """

    output: str
    model: str | None = None
    size: str | None = None
    model_config: str | None = None
    init_embeddings: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    lowercase: bool = True
    objective: Objective = "mlm"
    mask: Mask = "token"
    mask_rate: float = 0.15
    words: str | None = None
    lengths: tuple[tuple[int, float], ...] = ((128, 1.0),)
    pack: Literal["document", "across"] = "document"
    dev_tokens: int = 200_000
    epochs: int = 1
    steps: int | None = None
    batch_tokens: int = 4096
    accumulate: int = 1
    lr: float = 5e-4
    schedule: Schedule = "linear"
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float | None = 0.0
    eval_steps: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    precision: Precision = "auto"
    seed: int = 0

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
        if self.objective == "causal" and self.mask != "token":
            raise UsageError(f"--mask {self.mask}: the causal objective masks nothing; leave it out.")
        if self.objective in ("mlm+nsp", "mlm+sop") and self.pack == "across":
            raise UsageError(f"--pack across: {self.objective} pairs sentences of one document; leave it out.")

    @property
    def longest(self) -> int:
        """Tokens in the longest blocks."""
        return max(length for length, _ in self.lengths)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by option name, as YAML and checkpoints keep them; nothing that a subclass adds."""
        values = {field.name: getattr(self, field.name) for field in fields(PretrainSettings)}
        return values | {"lengths": ",".join(f"{length}:{share:g}" for length, share in self.lengths)}

"""The hyper-parameters of a fine-tuning run, by the names of the command line's options.

Imports nothing heavy, so that --help can show the defaults. Try:
python -c "from bertcli.training.settings import Settings; print(Settings(model='M', output='O'))"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from bertcli.errors import UsageError
from bertcli.tasks.base import Options, Scheme
from bertcli.tokenizer import Long

Schedule = Literal["linear", "cosine", "trapezoidal"]
Problem = Literal["auto", "single", "multi", "regression"]
Precision = Literal["auto", "bf16", "fp32"]
ClassWeights = Literal["balanced"] | Mapping[str, float] | None


def require_range(settings: object, names: Sequence[str], least: float, below: float | None = None) -> None:
    """Raise UsageError for the first of these settings that is out of range; None is in any."""
    for name in names:
        value = getattr(settings, name)
        if value is None or (value >= least and (below is None or value < below)):
            continue
        bounds = f"at least {least}" if below is None else f"from {least} to below {below}"
        raise UsageError(f"--{name.replace('_', '-')} {value}: must be {bounds}.")


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a run, besides the data. Raises UsageError for values out of range.

    batch_tokens: padded tokens in a batch, over all processes together; a step takes `accumulate` batches.
    warmup: share of all steps. ema: decay a step of the averaged weights, 0 for none. dropout: None keeps the
    base model's. eval_steps: steps between evaluations, None for once an epoch. patience: evaluations without a better
    `metric` before the run stops, None for never.
    """

    model: str
    output: str
    task: str = "text-classification"
    problem: Problem = "auto"
    text_field: str = "text"
    pair_field: str | None = None
    label_field: str = "label"
    label_separator: str = ","
    labels: tuple[str, ...] | None = None
    scheme: Scheme = "auto"
    long: Long = "truncate"
    max_length: int | None = None
    epochs: int = 3
    batch_tokens: int = 1024
    accumulate: int = 1
    lr: float = 1e-4
    schedule: Schedule = "linear"
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float | None = None
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None
    ema: float = 0.0
    eval_steps: int | None = None
    metric: str | None = None
    patience: int | None = None
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        require_range(self, ("epochs", "batch_tokens", "accumulate", "eval_steps", "patience", "max_length"), 1)
        require_range(self, ("warmup", "dropout", "ema", "label_smoothing"), 0, below=1)
        require_range(self, ("lr", "weight_decay", "clip_norm", "seed"), 0)

    @property
    def options(self) -> Options:
        """What of this the task reads."""
        fields = (self.text_field, self.pair_field, self.label_field, self.label_separator, self.long)
        return Options(*fields, scheme=self.scheme, null_threshold="auto")

    def as_dict(self) -> dict[str, Any]:
        """Plain values by option name, as YAML and checkpoints keep them; nothing that a subclass adds."""
        values = {field.name: getattr(self, field.name) for field in fields(Settings)}
        return values | {"labels": list(self.labels) if self.labels else None}

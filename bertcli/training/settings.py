"""The hyper-parameters of a fine-tuning run, by the names of the command line's options.

Imports nothing heavy, so that --help can show the defaults. Try:
python -c "from bertcli.training.settings import Settings; print(Settings(model='M', output='O'))"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from bertcli.arrays import Long
from bertcli.errors import UsageError
from bertcli.inference import Request
from bertcli.option import REQUIRED, like, option
from bertcli.tasks import DEFAULT
from bertcli.tasks.options import ClassWeights, LabelSettings, Options, Problem, Scheme

Schedule = Literal["linear", "cosine", "trapezoidal"]
Precision = Literal["auto", "bf16", "fp32"]


def require_range(settings: object, names: Sequence[str], least: float, below: float | None = None) -> None:
    """Raise UsageError for the first of these settings that is out of range; None is in any."""
    for name in names:
        value = getattr(settings, name)
        if value is None or (value >= least and (below is None or value < below)):
            continue
        bounds = f"at least {least}" if below is None else f"from {least} to below {below}"
        raise UsageError(f"--{name.replace('_', '-')} {value}: must be {bounds}.")


EMBEDDED = "the encoder of bertcli's embedded model"


@dataclass(frozen=True, kw_only=True)
class Settings(LabelSettings):
    """All that decides the result of a run, besides the data. Raises UsageError for values out of range.

    batch_tokens: padded tokens in a batch, over all processes together; a step takes `accumulate` batches.
    dropout: None keeps the base model's. eval_steps: None for once an epoch. patience: None to run to the end.
    """

    model: str | None = option(REQUIRED, "Base model: a directory or a Hub name.", "MODEL", flags="-m")
    output: str
    task: str = like(Request, "task", DEFAULT)
    problem: Problem = option(
        "auto", "auto: lists are several labels, decimal numbers regression, else one label.", group="what"
    )
    text_field: str = like(Options, "text_field")
    text_first: bool = False
    pair_field: str | None = like(Options, "pair_field")
    label_field: str = like(Options, "label_field")
    label_separator: str = like(Options, "label_separator")
    map_labels: Mapping[str, str] | None = None
    labels: tuple[str, ...] | None = None
    scheme: Scheme = like(Options, "scheme")
    long: Long = option(
        "truncate",
        "Training texts over --max-length: overlapping windows, or a cut that is reported.",
        choices=("window", "truncate"),
        group="data",
    )
    max_length: int | None = option(
        None, "Most tokens in a window.  [default: what the model has]", "N", least=3, group="data"
    )
    layers: int | None = option(
        None, "Start from N evenly spaced layers of the base.  [default: all]", "N", least=1, group="model"
    )
    teacher: str | None = option(
        None, "Learn from this model's answers too; it has learnt the same task.", "MODEL", group="model"
    )
    teacher_weight: float = option(
        0.5, "Share of the teacher in the loss; the labels have the rest.", above=0, most=1, group="training"
    )
    teacher_temperature: float = option(
        2.0, "What softens the answers that are compared with the teacher's.", above=0, group="training"
    )
    epochs: int = option(3, "Passes over the training data.", least=1)
    batch_tokens: int = option(1024, "Most tokens in a batch.", least=1, group="training")
    accumulate: int = option(1, "Batches in a step of the optimiser.", least=1, group="training")
    lr: float = option(1e-4, "Highest learning rate.", above=0)
    schedule: Schedule = option("linear", "How the learning rate falls to 0.", group="training")
    warmup: float = option(
        0.06, "Share of the steps in which the learning rate rises.", least=0, below=1, group="training"
    )
    weight_decay: float = option(0.01, "AdamW's weight decay, not on biases and LayerNorm.", least=0, group="training")
    clip_norm: float = option(1.0, "Largest norm of the gradients.", least=0, group="training")
    dropout: float | None = option(None, "Dropout.  [default: the model's own]", least=0, below=1, group="training")
    label_smoothing: float = option(
        0.0, "Share of a label's weight given to the others.", least=0, below=1, group="training"
    )
    class_weights: ClassWeights = None
    ema: float = option(
        0.0,
        "Decay of the average of the weights that is kept; 0: the weights themselves.",
        least=0,
        below=1,
        group="training",
    )
    exit_after: int | None = option(
        None,
        "Train a second head after this layer, where clear texts may leave: classes of texts only.",
        "N",
        least=1,
        group="training",
    )
    eval_steps: int | None = option(
        None, "Steps between evaluations.  [default: once an epoch]", "N", least=1, group="training"
    )
    metric: str | None = option(
        None, "Which metric decides what is best.  [default: the task's first, as accuracy or f1]", group="training"
    )
    patience: int | None = option(
        None, "Stop after so many evaluations without a better --metric.", "N", least=1, group="training"
    )
    precision: Precision = option("auto", "auto: bf16 where the CPU or GPU multiplies it natively.", group="model")
    seed: int = option(0, "Seed of everything random.", least=0, most=2**64 - 1, group="training")

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_tokens", "accumulate", "eval_steps", "patience", "max_length", "layers")
        require_range(self, counts, 1)
        require_range(self, ("warmup", "dropout", "ema", "label_smoothing"), 0, below=1)
        require_range(self, ("lr", "weight_decay", "clip_norm", "seed", "teacher_weight", "teacher_temperature"), 0)

    @property
    def options(self) -> Options:
        """What of this the task reads."""
        fields = (self.text_field, self.pair_field, self.label_field, self.label_separator, self.long)
        return Options(
            *fields, map_labels=self.map_labels, scheme=self.scheme, null_threshold="auto", text_first=self.text_first
        )

    def as_dict(self) -> dict[str, object]:
        """Plain values by option name, as YAML and checkpoints keep them; nothing that a subclass adds."""
        values = {field.name: getattr(self, field.name) for field in fields(Settings) if field.name != "text_first"}
        return values | {"labels": list(self.labels) if self.labels else None}

    def saved(self) -> Mapping[str, object]:
        """What bertcli.yaml keeps of a run, by option name. A command, which has more options, keeps these too."""
        return self.as_dict()

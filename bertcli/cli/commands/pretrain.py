"""bertcli pretrain: train an encoder on raw text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bertcli import device
from bertcli.cli.options import Parsed, command, number
from bertcli.cli.shared import STOPPING, RawTextOptions, TrainingOptions, require_different
from bertcli.cli.terminal import Messages, heed_signals
from bertcli.errors import Exit
from bertcli.option import option
from bertcli.pretraining.settings import SIZE, SIZES, PretrainSettings

FILE = click.Path(exists=True, dir_okay=False)
EXAMPLES = """
bertcli pretrain corpus/ --size mini --vocab-size 16000 -o DIR
bertcli pretrain 'wiki/*.txt.xz' more.jsonl --tokenizer TOKENIZER --objective mlm+nsp --lengths 128:0.9,512:0.1 -o DIR
bertcli pretrain reports/ -m MODEL --epochs 3 --lr 1e-4 -o DIR         # go on with a checkpoint: domain adaptation
bertcli pretrain 中文/ --vocab-size 12000 --mask word --words jieba -o DIR
bertcli pretrain --config DIR/bertcli.yaml -o DIR2 --seed 1            # an earlier run, with one change
torchrun --nproc-per-node 2 -m bertcli pretrain corpus/ -o DIR
"""


def lengths(value: Any) -> tuple[tuple[int, float], ...]:
    """`128`, or `128:0.9,512:0.1`; a default comes as it is."""
    if isinstance(value, tuple):
        return value
    parts = [part.partition(":") for part in str(value).split(",")]
    try:
        return tuple((int(length), number(share or "1")) for length, _, share in parts)
    except ValueError:
        raise ValueError(f"'{value}' is not LENGTH:SHARE,…, as in 128:0.9,512:0.1.") from None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pretrain(TrainingOptions, RawTextOptions, PretrainSettings):
    """The options of `bertcli pretrain`."""

    size: str | None = option(None, f"A new BERT of Google's shapes.  [default: {SIZE}]", choices=tuple(SIZES))
    model_config: str | None = option(None, "Or of the shape in this config.json.", "FILE", type=FILE, group="what")
    init_embeddings: str | None = option(
        None, "Start word embeddings from text vectors of word2vec or GloVe.", "FILE", type=FILE, group="what"
    )
    lengths: tuple[tuple[int, float], ...] = option(
        PretrainSettings.lengths,
        "Tokens in a block; or several lengths in turn, with shares of the steps.  [default: 128]",
        "N|N:SHARE,…",
        type=Parsed("LENGTHS", lengths),
        more={"show_default": False},
        group="training",
    )

    def saved(self) -> Mapping[str, object]:
        """See TrainingOptions; lengths as they are spelt."""
        return {**super().saved(), "lengths": self.as_dict()["lengths"]}


@command(
    """
    corpus text_field document_per encoding on_error output size model_config model tokenizer vocab_size lowercase
    init_embeddings objective mask mask_rate words lengths pack dev_tokens epochs steps lr schedule warmup
    batch_tokens accumulate weight_decay clip_norm dropout eval_steps seed device threads precision
    gradient_checkpointing compile cache resume overwrite track report
    """,
    EXAMPLES,
)
def pretrain(messages: Messages, options: Pretrain) -> int:
    """Train an encoder on the raw text of CORPUS: files, directories, patterns; also .gz, .xz, .jsonl, .parquet.

    The result is a Hugging Face checkpoint for `finetune` and `predict -t fill-mask`. Text is tokenised once, in
    parallel, and kept; documents are parted by blank lines. Ctrl-C leaves a checkpoint for --resume.
    """
    from bertcli.cli.progress import TrainingProgress
    from bertcli.inference.cache import root
    from bertcli.pretraining.pretrain import pretrain
    from bertcli.training.run import Saved

    require_different({"--output": options.output, "--report": options.report}, options.corpus)
    options.require_page(options.output)
    processor = device.choose(options.device, options.threads)
    with TrainingProgress(messages, processor) as show, heed_signals(show.tell, STOPPING) as stop:
        for event in pretrain(
            options,
            options.source(),
            processor,
            options.cache or root(),
            resume=options.resume,
            overwrite=options.overwrite,
            stop=lambda: stop.signum,
            track=options.track,
        ):
            if not isinstance(event, Saved):
                show.event(event)
                continue
            messages.note(f"model: {event.path} (weights of step {event.step})")
            facts = {
                "base model": Path(options.model).name if options.model else None,
                "size": options.size,
                "epochs": options.epochs,
                "steps": options.steps,
                "lr": f"{options.lr:g}",
                "batch tokens": options.batch_tokens,
                "seed": options.seed,
                "weights of step": event.step,
            }
            options.write_training_page(messages, event, facts)
    return Exit.OK

"""bertcli pretrain: train an encoder on raw text."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import click

from bertcli import device
from bertcli.cli import shared
from bertcli.cli.options import command, option, spelt
from bertcli.cli.terminal import Voice, heed_signals
from bertcli.errors import Exit
from bertcli.pretraining.settings import SIZE, SIZES, VOCABULARY, Mask, Objective, PretrainSettings
from bertcli.training.settings import Precision

NOT_KEPT = ("output", "resume", "overwrite", "cache", "track", "report")  # where and how, not what, is trained
FILE = click.Path(exists=True, dir_okay=False)
EXAMPLES = """
bertcli pretrain corpus/ --size mini --vocab-size 16000 -o DIR
bertcli pretrain 'wiki/*.txt.xz' more.jsonl --tokenizer TOKENIZER --objective mlm+nsp --lengths 128:0.9,512:0.1 -o DIR
bertcli pretrain reports/ -m MODEL --epochs 3 --lr 1e-4 -o DIR         # go on with a checkpoint: domain adaptation
bertcli pretrain 中文/ --vocab-size 12000 --mask word --words jieba -o DIR
bertcli pretrain --config DIR/bertcli.yaml -o DIR2 --seed 1            # an earlier run, with one change
torchrun --nproc-per-node 2 -m bertcli pretrain corpus/ -o DIR
"""


class Lengths(click.ParamType[tuple[tuple[int, float], ...]]):
    """`128`, or `128:0.9,512:0.1`."""

    name = "LENGTHS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, float], ...]:
        """Parse it; a default comes as it is."""
        if isinstance(value, tuple):
            return value
        parts = [part.partition(":") for part in str(value).split(",")]
        try:
            return tuple((int(length), float(share or "1")) for length, _, share in parts)
        except ValueError:
            self.fail(f"'{value}' is not LENGTH:SHARE,…, as in 128:0.9,512:0.1.", param, ctx)


@dataclass(frozen=True, kw_only=True)
class Pretrain(shared.RawText, PretrainSettings):
    """The options of `bertcli pretrain`."""

    corpus: shared.CorpusFiles
    text_field: shared.CorpusTextField
    document_per: shared.DocumentPer
    encoding: shared.CorpusEncoding
    on_error: shared.OnFault
    output: shared.Output
    size: Annotated[
        str | None,
        option(type=click.Choice(list(SIZES)), help=f"A new BERT of Google's published shapes.  [default: {SIZE}]"),
    ]
    model_config: Annotated[str | None, option(type=FILE, metavar="FILE", help="Or of the shape in this config.json.")]
    model: Annotated[
        str | None,
        option("-m", metavar="MODEL", help="Or go on with a checkpoint: a directory or a Hub name."),
    ]
    tokenizer: Annotated[str | None, option(metavar="DIR", help="Take the vocabulary of this directory or Hub name.")]
    vocab_size: Annotated[
        int | None,
        option(
            type=shared.COUNT,
            metavar="N",
            help=f"Or train one of N pieces on the corpus.  [default: {VOCABULARY}]",
        ),
    ]
    lowercase: shared.Lowercase
    init_embeddings: Annotated[
        str | None,
        option(type=FILE, metavar="FILE", help="Start word embeddings from text vectors of word2vec or GloVe."),
    ]
    objective: Annotated[Objective, option(help="Masked words; with next sentence or sentence order; or next word.")]
    mask: Annotated[Mask, option(help="What is masked at once: tokens, whole words, or spans of words.")]
    mask_rate: Annotated[
        float,
        option(type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Share of the tokens that is masked."),
    ]
    words: Annotated[
        str | None,
        option(metavar="jieba|FILE", help="What finds the words of Chinese: jieba, or a file of words."),
    ]
    lengths: Annotated[
        tuple[tuple[int, float], ...],
        option(
            type=Lengths(),
            show_default="128",
            metavar="N|N:SHARE,…",
            help="Tokens in a block; or several lengths in turn, with shares of the steps.",
        ),
    ]
    pack: Annotated[Literal["document", "across"], option(help="Whether a block keeps to one document.")]
    dev_tokens: Annotated[
        int,
        option(type=click.IntRange(0), help="Held out to score on, in whole documents; at most a fiftieth."),
    ]
    epochs: Annotated[int, option(type=shared.COUNT, help="Passes over the corpus.")]
    steps: Annotated[
        int | None, option(type=shared.COUNT, metavar="N", help="Steps of the optimiser, instead of --epochs.")
    ]
    lr: shared.LearningRate
    schedule: shared.Schedule
    warmup: shared.Warmup
    batch_tokens: shared.BatchTokens
    accumulate: shared.Accumulate
    weight_decay: shared.WeightDecay
    clip_norm: shared.ClipNorm
    dropout: Annotated[
        float | None,
        option(type=shared.SHARE, help="Dropout while pre-training; fine-tuning keeps the model's own."),
    ]
    eval_steps: Annotated[
        int | None,
        option(
            type=shared.COUNT,
            metavar="N",
            help="Steps between evaluations, each with a checkpoint.  [default: a tenth]",
        ),
    ]
    seed: shared.Seed
    device: shared.Device = "auto"
    threads: shared.Threads = None
    precision: Annotated[Precision, option(help="auto: bf16 where CPU or GPU multiply it natively.")]
    gradient_checkpointing: Annotated[bool, option(help="Compute activations twice instead of keeping them.")]
    compile: Annotated[bool, option(help="Compile the layers with torch.compile, which pays on a GPU.")]
    cache: Annotated[
        str | None,
        option(
            type=click.Path(file_okay=False),
            metavar="DIR",
            help="Keeps tokenised corpora.  [default: ~/.cache/bertcli]",
        ),
    ] = None
    resume: shared.Resume = False
    overwrite: shared.Overwrite = False
    track: shared.Track = None
    report: shared.Report = None


@command(EXAMPLES)
def pretrain(voice: Voice, options: Pretrain) -> int:
    """Train an encoder on the raw text of CORPUS: files, directories, patterns; also .gz, .xz, .jsonl.

    The result is a Hugging Face checkpoint for `finetune` and `predict -t fill-mask`. Text is tokenised once, in
    parallel, and kept; documents are parted by blank lines. Ctrl-C leaves a checkpoint for --resume.
    """
    from bertcli.cli.progress import Show
    from bertcli.pretraining.pretrain import Place, pretrain
    from bertcli.training.run import Saved

    shared.require_page(options.report, options.output)
    processor = device.choose(options.device, options.threads)
    # The user's directory for such things, as the XDG Base Directory Specification names it.
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(options.cache) if options.cache else caches / "bertcli"
    kept = {name: value for name, value in spelt(options).items() if name not in NOT_KEPT}
    kept["lengths"] = options.as_dict()["lengths"]
    with heed_signals() as stop, Show(voice, processor) as show:
        for event in pretrain(
            options,
            options.source(),
            Place(processor, cache, processor.threads, options.track),
            resume=options.resume,
            overwrite=options.overwrite,
            stop=lambda: stop.signum,
            options=kept,
        ):
            if not isinstance(event, Saved):
                show.event(event)
                continue
            voice.note(f"model: {event.path} (weights of step {event.step})")
            if options.report:
                facts = {
                    **({"base model": Path(options.model).name} if options.model else {}),
                    "size": options.size,
                    "epochs": options.epochs,
                    "steps": options.steps,
                    "lr": f"{options.lr:g}",
                    "batch tokens": options.batch_tokens,
                    "seed": options.seed,
                    "weights of step": event.step,
                }
                facts = {name: value for name, value in facts.items() if value is not None}
                shared.write_training_page(voice, options.report, event, facts)
    return Exit.OK

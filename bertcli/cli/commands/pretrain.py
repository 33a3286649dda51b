"""bertcli pretrain: train an encoder on raw text."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice
from bertcli.pretraining.settings import MASKS, OBJECTIVES, SIZE, SIZES, VOCABULARY, PretrainSettings

EXAMPLES = """
bertcli pretrain corpus/ --size mini --vocab-size 16000 -o DIR
bertcli pretrain 'wiki/*.txt.xz' more.jsonl --tokenizer TOKENIZER --objective mlm+nsp --lengths 128:0.9,512:0.1 -o DIR
bertcli pretrain reports/ -m MODEL --epochs 3 --lr 1e-4 -o DIR         # go on with a checkpoint: domain adaptation
bertcli pretrain 中文/ --vocab-size 12000 --mask word --words jieba -o DIR
bertcli pretrain --config DIR/bertcli.yaml -o DIR2 --seed 1            # an earlier run, with one change
torchrun --nproc-per-node 2 -m bertcli pretrain corpus/ -o DIR
"""
FILE, FOLDER = click.Path(exists=True, dir_okay=False), click.Path(file_okay=False)
COUNT = click.IntRange(1)
FLAG: dict[str, Any] = {"is_flag": True, "show_default": False}
PLAIN: dict[str, Any] = {"show_default": "128", "metavar": "N|N:SHARE,…"}
setting = options.setting_of(PretrainSettings)


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


@click.command("pretrain", cls=options.Command, epilog=EXAMPLES)
@options.corpus
@click.option("-o", "--output", required=True, type=click.Path(), metavar="DIR", help="Where the model goes.")
@setting("--size", click.Choice(list(SIZES)), f"A new BERT of Google's published shapes.  [default: {SIZE}]")
@setting("--model-config", FILE, "Or of the shape in this config.json.", metavar="FILE")
@click.option("-m", "--model", metavar="MODEL", help="Or go on with a checkpoint: a directory or a Hub name.")
@setting("--tokenizer", str, "Take the vocabulary of this directory or Hub name.", metavar="DIR")
@setting("--vocab-size", COUNT, f"Or train one of N pieces on the corpus.  [default: {VOCABULARY}]", metavar="N")
@options.cased
@setting("--init-embeddings", FILE, "Start word embeddings from text vectors of word2vec or GloVe.", metavar="FILE")
@setting("--objective", click.Choice(OBJECTIVES), "Masked words; with next sentence or sentence order; or next word.")
@setting("--mask", click.Choice(MASKS), "What is masked at once: tokens, whole words, or spans of words.")
@setting("--mask-rate", click.FloatRange(0, 1, min_open=True, max_open=True), "Share of the tokens that is masked.")
@setting("--words", str, "What finds the words of Chinese: jieba, or a file of words.", metavar="jieba|FILE")
@setting("--lengths", Lengths(), "Tokens in a block; or several lengths in turn, with shares of the steps.", **PLAIN)
@setting("--pack", click.Choice(["document", "across"]), "Whether a block keeps to one document.")
@setting("--dev-tokens", click.IntRange(0), "Held out to score on, in whole documents; at most a fiftieth.")
@setting("--epochs", COUNT, "Passes over the corpus.")
@setting("--steps", COUNT, "Steps of the optimiser, instead of --epochs.", metavar="N")
@setting("--lr", click.FloatRange(0, min_open=True), "Highest learning rate.")
@setting("--schedule", click.Choice(["linear", "cosine", "trapezoidal"]), "How the learning rate falls to 0.")
@setting("--warmup", click.FloatRange(0, 1), "Share of the steps in which the learning rate rises.")
@setting("--batch-tokens", COUNT, "Most tokens in a batch.")
@setting("--accumulate", COUNT, "Batches in a step of the optimiser.")
@setting("--weight-decay", click.FloatRange(0), "AdamW's weight decay, not on biases and LayerNorm.")
@setting("--clip-norm", click.FloatRange(0), "Largest norm of the gradients.")
@setting("--dropout", click.FloatRange(0, 1), "Dropout while pre-training; fine-tuning keeps the model's own.")
@setting("--eval-steps", COUNT, "Steps between evaluations, each with a checkpoint.  [default: a tenth]", metavar="N")
@setting("--seed", click.IntRange(0), "Seed of everything random.")
@options.device
@setting("--precision", click.Choice(["auto", "bf16", "fp32"]), "auto: bf16 where CPU or GPU multiply it natively.")
@setting("--gradient-checkpointing", bool, "Compute activations twice instead of keeping them.", **FLAG)
@setting("--compile", bool, "Compile the layers with torch.compile, which pays on a GPU.", **FLAG)
@click.option("--cache", type=FOLDER, metavar="DIR", help="Keeps tokenised corpora.  [default: ~/.cache/bertcli]")
@click.option("--resume", is_flag=True, help="Continue the unfinished run in DIR, to the same weights.")
@click.option("--overwrite", is_flag=True, help="Replace what is in DIR.")
@options.track
@options.page
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Train an encoder on the raw text of CORPUS: files, directories, patterns; also .gz, .xz, .jsonl.

    The result is a Hugging Face checkpoint for `finetune` and `predict -t fill-mask`. Text is tokenised once, in
    parallel, and kept; documents are parted by blank lines. Ctrl-C leaves a checkpoint for --resume.
    """
    from bertcli.cli.pretrain import pretrain

    return pretrain(voice, given)

"""Named entities and questions against what a user would run instead, with the same weights or the same data.

    python tests/benchmarks/applications.py speed DIR FILE           # bertcli's int8 against a plain transformers loop
    python tests/benchmarks/applications.py trainer MODEL TEST SEED TRAIN...   # transformers' Trainer for entities
    python tests/benchmarks/applications.py blank VOCABULARY DIR     # a small BERT with random weights, to train

speed: records/s of both, alternating in one process, start-up outside, median of three pairs. The loop takes batches of
32 in the order of arrival, pads them, cuts what is too long, and stops at the argmax; ours goes on to entities or
answers with offsets. FILE: texts, or questions with contexts, of which the first 1,000 are taken.
trainer: as the example script run_ner.py sets it up (batches of 8, 5e-5, 3 epochs, the tail of long sentences cut), in
bf16; prints the entity F1 on TEST.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
import transformers

from bertcli.data.readers import read
from bertcli.inference.session import Request, open_session
from bertcli.inference.stream import result, stream
from bertcli.metrics.entities import score, spans, tags
from bertcli.tasks.options import Options


def speed(directory: str, file: str) -> dict[str, Any]:
    """Records/s of both, and their ratio."""
    records = list(islice(read([file]), 1000))
    session = open_session(Request(model=directory), Options())
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = getattr(transformers, f"AutoModelFor{session.task.head}").from_pretrained(directory).eval()
    names = ["question", "context"] if session.task.head == "QuestionAnswering" else ["text"]
    cut = "only_second" if len(names) == 2 else True

    def ours() -> None:
        for outcome in chain.from_iterable(stream(session.task, session.backend, records)):
            result(session.task, outcome)

    def loop() -> None:
        for i in range(0, len(records), 32):
            texts = [[record.fields[name] for record in records[i : i + 32]] for name in names]
            batch = tokenizer(*texts, padding=True, truncation=cut, max_length=512, return_tensors="pt")
            with torch.inference_mode():
                for logits in model(**batch).values():
                    logits.argmax(-1)

    pairs = [(_rate(ours, len(records)), _rate(loop, len(records))) for _ in range(3)]
    ratio = statistics.median(one / other for one, other in pairs)
    return {
        "records": len(records),
        "pairs": [[round(one, 1), round(other, 1)] for one, other in pairs],
        "ratio": round(ratio, 2),
    }


def blank(vocabulary: str, directory: str) -> dict[str, Any]:
    """A BERT of the size called mini (4 layers, hidden size 256) with random weights and a given word list."""
    transformers.set_seed(0)
    tokenizer = transformers.BertTokenizer(vocabulary, do_lower_case=True)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
    )
    transformers.BertModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return {"directory": directory, "vocabulary": len(tokenizer)}


def _rate(run: Callable[[], None], count: int) -> float:
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


class Sentences(torch.utils.data.Dataset[dict[str, Any]]):
    """CoNLL files with the label of each word at its first piece."""

    def __init__(self, files: list[str], tokenizer: Any, labels: list[str]) -> None:
        given = [record.fields for record in read(files, input_format="conll")]
        self.gold = [tags(spans(fields["tags"]), len(fields["tags"])) for fields in given]
        self.encoded = [tokenizer(fields["tokens"], is_split_into_words=True, truncation=True) for fields in given]
        for encoding, own in zip(self.encoded, self.gold, strict=True):
            words = encoding.word_ids()
            first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
            encoding["labels"] = [
                labels.index(own[word]) if begins else -100 for word, begins in zip(words, first, strict=True)
            ]

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.encoded[index])


def trainer(model: str, test: str, seed: int, train: list[str]) -> dict[str, Any]:
    """Entity precision, recall and F1; words that were cut off count as O."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, model_max_length=512)
    found = {span.type for record in read(train, input_format="conll") for span in spans(record.fields["tags"])}
    labels = ["O", *(f"{prefix}-{kind}" for kind in sorted(found) for prefix in "BI")]
    transformers.set_seed(seed)
    module = transformers.AutoModelForTokenClassification.from_pretrained(
        model, id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}
    )
    held_out = Sentences([test], tokenizer, labels)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, num_train_epochs=3, seed=seed, bf16=True, use_cpu=not torch.cuda.is_available(), report_to=[],
            save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        collator = transformers.DataCollatorForTokenClassification(tokenizer)
        run = transformers.Trainer(
            module, arguments, data_collator=collator, train_dataset=Sentences(train, tokenizer, labels)
        )
        start = time.perf_counter()
        run.train()
        seconds = time.perf_counter() - start
        output: Any = run.predict(held_out)
    predicted = []
    for row, own, logits in zip(output.label_ids, held_out.gold, output.predictions, strict=True):
        guess = [labels[i] for i in np.asarray(logits)[np.asarray(row) != -100].argmax(-1)]
        predicted.append(_repaired(guess + ["O"] * (len(own) - len(guess))))
    metrics = score(held_out.gold, predicted)
    return {"seed": seed, "seconds": round(seconds), **{name: metrics[name] for name in ("precision", "recall", "f1")}}


def _repaired(guess: list[str]) -> list[str]:
    return tags(spans(guess), len(guess))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "trainer", "blank"])
    parser.add_argument("arguments", nargs="+")
    given = parser.parse_args()
    if given.what in ("speed", "blank"):
        report = {"speed": speed, "blank": blank}[given.what](*given.arguments)
    else:
        model, test, seed, *train = given.arguments
        report = trainer(model, test, int(seed), train)
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()

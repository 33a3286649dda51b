"""How long texts are in tokens, and how much of them a tokenizer knows. Knows pieces, no words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertcli.checking.findings import Findings
from bertcli.checking.split import Example, Split
from bertcli.tokenizer import Tokenizer

FOREIGN = 0.2  # share of a text's pieces that the tokenizer may not know


def check(splits: Sequence[Split], tokenizer: Tokenizer, limit: int, findings: Findings) -> dict[str, dict[str, Any]]:
    """Note the texts of over `limit` tokens and those in a foreign script; returns the facts of each split.

    median, longest: tokens of a text. over: share of the texts over the limit. unknown: share of all pieces.
    """
    return {split.name: _facts(split, tokenizer, limit, findings) for split in splits if split.examples}


def _facts(split: Split, tokenizer: Tokenizer, limit: int, findings: Findings) -> dict[str, Any]:
    pieces = np.array([example.pieces for example in split.examples])
    unknown = np.array([example.unknown for example in split.examples])
    own = np.maximum(pieces - np.array([_special(example, tokenizer) for example in split.examples]), 1)
    for i in np.flatnonzero(pieces > limit):
        findings.add("long-text", split.examples[i].record.location, f"{pieces[i]:,} tokens, the model takes {limit:,}")
    for i in np.flatnonzero(unknown > FOREIGN * own):
        message = f"{unknown[i]:,} of {own[i]:,} pieces are unknown: {split.examples[i].texts[0]:.40}"
        findings.add("unknown-pieces", split.examples[i].record.location, message)
    return {
        "median": int(np.median(pieces)),
        "longest": int(pieces.max()),
        "limit": limit,
        "over": float((pieces > limit).mean()),
        "unknown": float(unknown.sum() / own.sum()),
    }


def _special(example: Example, tokenizer: Tokenizer) -> int:
    return tokenizer.backend.num_special_tokens_to_add(len(example.texts) == 2)

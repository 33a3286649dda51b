"""The tokenizer of a model directory: which file it is in, what its special tokens are called, how long a text may be.

Other people's directories say these things in several places, and some contradict each other: tokenizer.json is taken
as it is, but for tokens that other files add, for case, accents and ideographs of BERT's classes, and the space before
a text of RoBERTa's, where tokenizer_config.json has the last word, as in transformers; a vocab.txt as the class that is
named for it reads it. With do_lower_case, keep_accents and the like of ALBERT's, DeBERTa's, XLNet's and RemBERT's only
transformers 5 overrules tokenizer.json; files that differ are of transformers 4, which trained by tokenizer.json.
Knows no task and no weights.
Try: python -c "from pathlib import Path; from bertcli.tokenizer_files import load; print(load(Path('DIR'), {}).mask)"
"""

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import pretrained
from bertcli.errors import ModelError
from bertcli.safety import read_configs, read_json, require_whole
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers

LEAST = 2  # tokens of text in a window: one of each text of a pair
POSITIONS = 512  # where a model's config does not say how many it has
STATED = ("tokenizer_config.json", "special_tokens_map.json")  # where special tokens are named
SPECIAL = ("mask", "pad", "unk")
TOKENIZER = "tokenizer.json"
BERT = "BertTokenizer"
BERT_TOKENS = ("[UNK]", "[CLS]", "[SEP]")  # that a vocab.txt of BERT's must have
SPECIAL_TOKENS = {*BERT_TOKENS, "[PAD]", "[MASK]"}
ADDED = "added_tokens.json"
ROLES = [f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]  # in transformers' order
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")  # of an added token
NORMALIZER = {  # what tokenizer_config.json calls the settings of BERT's normalizer
    "do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars",
}  # fmt: skip
AS_IT_IS = ("PreTrainedTokenizer", "TokenizersBackend")  # classes that heed none of them
FROM_PADDING = {  # families that number their positions from the padding id + 1, and that id where the config is silent
    **dict.fromkeys(("camembert", "data2vec-text", "ibert", "layoutlmv3", "longformer", "luke", "mpnet", "roberta"), 1),
    **dict.fromkeys(("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"), 1),
    **dict.fromkeys(("esm", "lilt", "markuplm"), 0),
}
FILES = ("tokenizer_config.json", "special_tokens_map.json", ADDED, "vocab.*", "merges.txt", "*.model")
PROBES = (  # what tokenizers treat in different ways: case, accents, spaces, ideographs, marks, digits, pairs
    "The Café is naïve.", "  two  spaces, a\ttab ", "東京タワー 你好", "12,345.67 % (x_y)", "don't re-use it's", "🙂",
    "e\u0301 ﬁ lower UPPER MiXed",
)  # fmt: skip
SEGMENTS = "token_type_ids"
SEGMENTED = {  # classes of transformers 5 whose pairs have segments
    "BertTokenizer", "DPRQuestionEncoderTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer", "FNetTokenizer",
    "LayoutLMv2Tokenizer", "MarkupLMTokenizer",
}  # fmt: skip
MISSING = re.compile(  # how transformers says that a package is missing
    r"requires? the (\w+) library|[Yy]ou need to (?:have|install) (\w+)|pip install (?:transformers\[)?([\w-]+)"
)
CHUNK = 1000  # pieces of a vocabulary in one text


def load(directory: Path, config: Mapping[str, Any], cached: Path | None = None) -> Tokenizer:
    """Open the tokenizer of a model directory: tokenizer.json, else vocab.txt, else what transformers reads.

    config: of the model. cached: a folder whose tokenizer.json is what all that gives, where it has none itself.
    Raises ModelError where there is no tokenizer, and where it has more tokens than the model.
    """
    settings: dict[str, Any] = read_configs(directory).get("tokenizer_config.json") or {}
    room = positions(config)
    # The tokenizer may say that there are fewer; transformers writes 1e30 for "no limit".
    limit = int(min(room, settings.get("model_max_length") or room))
    backend = _open(directory, settings, config, cached)
    count, known = backend.get_vocab_size(), int(config.get("vocab_size") or 0)
    # Ids may have gaps; to list all of 30,522 would take 10 ms.
    if known and (count > known or any(backend.id_to_token(id_) is not None for id_ in range(known, known + 1000))):
        raise ModelError(
            f"{directory}: its tokenizer has {count:,} tokens, some with ids over the {known:,} that the model has "
            "embeddings for. Take both of one model, or give it more: resize_token_embeddings, then save_pretrained."
        )
    if limit < (least := backend.num_special_tokens_to_add(True) + LEAST):
        raise ModelError(f"{directory}: it takes {limit} tokens at most; with fewer than {least} there is no text.")
    special: dict[str, str] = {}  # what the directory calls its mask, pad and unk token, as far as it says
    for file in reversed(STATED):
        stated = read_json(directory / file)
        for role in SPECIAL if isinstance(stated, dict) else ():
            if token := _flags_of(stated.get(f"{role}_token")):
                special[role] = token["content"]
    side = settings.get("truncation_side") or (backend.truncation or {}).get("direction")
    # Pairs have segments as stated, else as the transformers that wrote the directory had it in training: before 5,
    # which writes "backend" too, all had but Big Bird's, of those whose models know segments.
    has_segments = config.get("model_type") != "big_bird"
    if names := settings.get("model_input_names"):
        has_segments = SEGMENTS in names
    elif "backend" in settings:
        has_segments = str(settings.get("tokenizer_class")).removesuffix("Fast") in SEGMENTED
    return Tokenizer(backend, limit, special, has_segments=has_segments, keeps_end=str(side).lower() == "left")


def positions(config: Mapping[str, Any]) -> int:
    """How many tokens a model has positions for, special tokens included.

    RoBERTa and its kin number them from the padding id + 1, so that those up to it are wasted.
    """
    count = int(config.get("max_position_embeddings") or 0)
    if count <= 0:
        return POSITIONS
    family = config.get("model_type")
    is_learnt = config.get("position_embedding_type", "absolute") == "absolute"  # ESM may rotate instead
    if not is_learnt or family not in FROM_PADDING:
        return count
    stated = None if family == "mpnet" else config.get("pad_token_id")  # MPNet does not ask its config
    return count - (FROM_PADDING[family] if stated is None else int(stated)) - 1


def _open(
    directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any], cached: Path | None
) -> "tokenizers.Tokenizer":
    """The library's tokenizer. settings: what tokenizer_config.json says, which a vocab.txt needs."""
    import tokenizers

    name = str(settings.get("tokenizer_class") or config.get("tokenizer_class") or "").removesuffix("Fast")
    file, vocabulary = directory / TOKENIZER, directory / "vocab.txt"
    listed, named = _stated_tokens(directory, settings)
    if cached and not file.is_file():
        file = cached / TOKENIZER
    if file.is_file():
        require_whole(file)
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{file}: not a tokenizer file ({error}).") from error
        normalizer, splitter = backend.normalizer, backend.pre_tokenizer
        stated = {} if name in AS_IT_IS else settings
        if isinstance(normalizer, tokenizers.normalizers.BertNormalizer):
            for key, attribute in NORMALIZER.items():
                if key in stated and (stated[key] is not None or key == "strip_accents"):  # null: as lowercase is
                    setattr(normalizer, attribute, stated[key])
            backend.normalizer = normalizer
        if isinstance(splitter, tokenizers.pre_tokenizers.ByteLevel) and stated.get("add_prefix_space") is not None:
            splitter.add_prefix_space = stated["add_prefix_space"]
            backend.pre_tokenizer = splitter
        backend.add_tokens(listed)
        added = {token.content for token in backend.get_added_tokens_decoder().values()}
        size = int(config.get("vocab_size") or 0)
        for token in named:  # One without an embedding was in no text of the training; transformers fails on it.
            has_room = not size or backend.get_vocab_size() < size
            if token.content not in added and (has_room or backend.token_to_id(token.content) is not None):
                backend.add_tokens([token])
        return backend
    # BERT's own; any other is for transformers, which knows BERT's too, and tokens beside it, but takes seconds.
    tokens = set(vocabulary.read_text("utf-8", errors="replace").split()) if vocabulary.is_file() else set()
    others = {token.content for token in (*listed, *named)} - SPECIAL_TOKENS
    if name in ("", BERT) and tokens.issuperset(BERT_TOKENS) and not others:
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

        return BertWordPieceTokenizer(  # splits text as google-research/bert `tokenization.py` does
            str(vocabulary),
            lowercase=settings.get("do_lower_case", True),
            strip_accents=settings.get("strip_accents"),
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        )._tokenizer
    return _by_transformers(directory, name)


def _stated_tokens(directory: Path, settings: Mapping[str, Any]) -> "list[list[tokenizers.AddedToken]]":
    """The tokens that files beside the vocabulary list with ids, in their order, and those that they name as special.

    settings: of tokenizer_config.json. Where it lists tokens, transformers reads neither of the other two files.
    """
    import tokenizers

    listed = settings.get("added_tokens_decoder")
    if listed is None:
        more, ids = (read_json(directory / file) for file in (STATED[1], ADDED))
        settings = {**settings, **(more if isinstance(more, dict) else {})}
        listed = {id_: token for token, id_ in ids.items()} if isinstance(ids, dict) else {}
    try:
        numbered = [listed[id_] for id_ in sorted(listed, key=int)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"{directory}: the ids of added tokens are no whole numbers ({error}).") from error
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens")
    extra = list(extra.values()) if isinstance(extra, dict) else extra if isinstance(extra, list) else []
    roles = [*ROLES, *(key for key in settings if key.endswith("_token") and key not in ROLES)]
    named = [*map(settings.get, roles), *extra]
    flags = [[stated for value in values if (stated := _flags_of(value))] for values in (numbered, named)]
    special = {stated["content"]: {"special": True} for stated in flags[1]}
    return [[tokenizers.AddedToken(**stated | special.get(stated["content"], {})) for stated in part] for part in flags]


def _flags_of(value: Any) -> dict[str, Any]:
    """The content of a token and its flags, as far as files state them; empty for what is no token."""
    stated = {"content": value} if isinstance(value, str) else value
    if not isinstance(stated, dict) or not isinstance(stated.get("content"), str):
        return {}
    flags = {flag: stated[flag] for flag in FLAGS if isinstance(stated.get(flag), bool)}
    return {"content": stated["content"], **flags}


def _by_transformers(directory: Path, name: str) -> "tokenizers.Tokenizer":
    """What transformers makes of the other files, such as RoBERTa's vocab.json with merges.txt.

    name: the class that is named for them, "" for none. Raises ModelError that names it, and the package that it lacks.
    """
    what = f"its tokenizer is a {name}" if name else "there is no tokenizer.json or vocab.txt"
    if any(directory.glob("*.model")) and not find_spec("sentencepiece"):
        raise ModelError(
            f"{directory}: {what}, and to read its sentencepiece model the package sentencepiece is missing: "
            "pip install sentencepiece"
        )
    if name and not pretrained.has_class(name):
        raise ModelError(f"{directory}: {what}, which transformers does not have; bertcli takes a tokenizer.json.")
    try:
        tokenizer = pretrained.open_tokenizer(directory)
    except ModelError as error:
        missing = MISSING.search(str(error))
        package = next(filter(None, missing.groups())) if missing else ""
        if package and not find_spec(package):  # It is also said where no class fits the files.
            raise ModelError(
                f"{directory}: {what}, which needs the package {package}: pip install {package}"
            ) from error
        raise ModelError(
            f"{directory}: {what}, and transformers cannot open another; does tokenizer_config.json name its class?"
        ) from error
    backend: tokenizers.Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"{directory}: its tokenizer is a {type(tokenizer).__name__}, which is written in Python; bertcli takes "
            "those of the tokenizers library, as a tokenizer.json."
        )
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    if len(backend.get_vocab().keys() - added) <= 1:  # transformers makes a tokenizer of special tokens out of nothing
        raise ModelError(
            f"{directory}: no vocabulary of its tokenizer is there; put the tokenizer's files beside it, or name their "
            "class as tokenizer_class in tokenizer_config.json."
        )
    return backend


def save(tokenizer: Tokenizer, source: Path, draft: Path, max_length: int) -> None:
    """Write that very tokenizer beside a model, so that transformers, which may read other files first, has it too.

    source: where it came from, with what else is known of it; max_length: tokens that the model takes.
    """
    for pattern in FILES if tokenizer.pieces is None else STATED:
        for file in source.glob(pattern):
            (draft / file.name).write_bytes(file.read_bytes())
    tokenizer.backend.save(str(draft / TOKENIZER))
    settings = read_json(draft / "tokenizer_config.json") or {}
    settings["model_max_length"] = max_length
    if tokenizer.pieces is not None:
        settings.pop("added_tokens_decoder", None)  # by the ids that they had
    _write(draft, settings)
    if not _reads_the_same(tokenizer, draft):
        stated = {f"{role}_token": token for role, token in tokenizer.special.items()}
        settings = {**stated, **settings}
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        _write(draft, settings)
    names = pretrained.open_tokenizer(draft).model_input_names  # of which some classes forget the segments
    config = read_configs(draft).get("config.json") or {}
    if int(config.get("type_vocab_size") or 0) > 1 and (SEGMENTS in names) != tokenizer.has_segments:
        others = [name for name in names if name != SEGMENTS]
        _write(draft, {**settings, "model_input_names": [*others, *([SEGMENTS] if tokenizer.has_segments else [])]})


def _write(directory: Path, settings: Mapping[str, Any]) -> None:
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _reads_the_same(tokenizer: Tokenizer, directory: Path) -> bool:
    """Whether transformers makes the same ids, for it builds some classes anew from their vocabulary."""
    pieces = sorted(tokenizer.backend.get_vocab())
    texts = [*PROBES, *(" ".join(pieces[i : i + CHUNK]) for i in range(0, len(pieces), CHUNK))]
    inputs = [*texts, *pairwise(PROBES)]
    try:
        other = pretrained.open_tokenizer(directory).backend_tokenizer
        other.no_padding()
        other.no_truncation()
        pairs = list(zip(tokenizer.backend.encode_batch(inputs), other.encode_batch(inputs), strict=True))
    except Exception:  # the library raises bare Exception where one cannot encode at all
        return False
    return all(one.ids == two.ids and one.type_ids == two.type_ids for one, two in pairs)

"""The embedded models: they answer without a network, fit in the wheel, and are as good as their cards say."""

import csv
import json
import lzma
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bertcli import model, tokenizer_files
from bertcli.data.readers import read
from bertcli.evaluation import collect, scores
from bertcli.inference.session import Request, open_session
from bertcli.inference.stream import stream
from bertcli.tasks.options import Options
from tests.cli.conftest import Run

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
MODELS = sorted(path.name for path in model.BUILTIN.iterdir() if path.is_dir())


def test_all_of_them_fit_in_100_megabytes() -> None:
    package = (file for file in model.BUILTIN.parent.rglob("*") if file.is_file() and file.suffix != ".pyc")
    assert sum(len(zlib.compress(file.read_bytes())) for file in package) < 99.8e6  # the rest is the list of files


@pytest.mark.parametrize("name", MODELS)
def test_each_has_a_card_with_its_licence_and_no_paths(name: str) -> None:
    card = (model.BUILTIN / name / "README.md").read_text(encoding="utf-8")
    assert ("license: apache-2.0" in card or "license: mit" in card) and f"pipeline_tag: {name}" in card
    for file in ("config.json", "tokenizer_config.json", "metrics.json"):
        assert '"/' not in (model.BUILTIN / name / file).read_text(encoding="utf-8")


def test_entities_out_of_the_box(bertcli: Run) -> None:
    line = json.loads(bertcli("predict", "-t", "ner", stdin=b"Angela Merkel met Tim Cook in Berlin.").stdout)
    assert [(e["type"], e["text"]) for e in line["entities"]] == [
        ("PER", "Angela Merkel"), ("PER", "Tim Cook"), ("LOC", "Berlin"),
    ]  # fmt: skip


def test_answers_out_of_the_box(bertcli: Run) -> None:
    text = b"Angela Merkel met Tim Cook of Apple in Berlin last Tuesday."
    line = json.loads(bertcli("predict", "-t", "qa", "--question", "Where did they meet?", stdin=text).stdout)
    assert (line["answer"], line["start"], line["end"]) == ("Berlin", 39, 45)


def test_embeddings_out_of_the_box_are_neighbours_across_languages(bertcli: Run, tmp_path: Path) -> None:
    texts = ["The hotel is terrible.", "这个酒店太差了。", "I bought a red bicycle.", "我买了一辆红色的自行车。"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    assert bertcli("predict", "-t", "embed", "texts.txt", "-o", "vectors.npy").returncode == 0
    vectors = np.load(tmp_path / "vectors.npy")
    assert vectors.shape == (4, 384) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similar = vectors @ vectors.T - 2 * np.eye(4)
    assert similar.argmax(1).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", ["it 's a charming journey .", "这个酒店太差了"])
def test_white_space_around_a_text_changes_nothing(name: str, text: str) -> None:
    tokens = tokenizer_files.load(model.BUILTIN / name, {}).backend
    spaced = [
        tokens.encode(before + text + after) for before, after in (("", ""), (" ", " "), ("\t", "\r\n"), ("", "\u3000"))
    ]
    assert {tuple(encoding.ids) for encoding in spaced} == {tuple(spaced[0].ids)}
    starts = [(encoding.offsets[1][0], encoding.offsets[-2][1]) for encoding in spaced]
    assert starts == [(before, before + len(text)) for before in (0, 1, 1, 0)]


@pytest.mark.parametrize("name", MODELS)
def test_what_nobody_sees_changes_nothing(name: str) -> None:
    tokens = tokenizer_files.load(model.BUILTIN / name, {}).backend
    plain = tokens.encode("in Berlin 北京")
    unseen = tokens.encode("\ufeffin \u200b Ber\u00adlin\x00 北\u2060\U000e0100京\u200e")
    assert plain.ids == unseen.ids
    assert unseen.offsets[-2][1] == 19


def test_sentiment_reads_capitals_beside_capitals_as_small_letters() -> None:
    tokens = tokenizer_files.load(model.BUILTIN / "text-classification", {}).backend
    for text, small in (("A GRIPPING FILM!", "A gripping film!"), ("iPHONE, O.K.", "iphone, O.K."), ("I AM", "I am")):
        assert tokens.encode(text).ids == tokens.encode(small).ids
    encoding = tokens.encode("so BAD")
    assert [encoding.offsets[1], encoding.offsets[-2]] == [(0, 2), (2, 6)]


@pytest.mark.parametrize("task", ["classify", "ner", "qa", "embed"])
def test_a_text_is_read_or_said_to_be_unknown(bertcli: Run, task: str) -> None:
    read = ["a good film", "这部电影很好看。", "這部電影很好看。", "😀 good", "Ça va très bien, merci!"]
    unknown = ["สวัสดีครับ อาหารอร่อยมาก", "Это очень плохо", "الفيلم رائع", "한국어 문장입니다"]
    lines = "".join(json.dumps({"text": text, "context": text}) + "\n" for text in 100 * [*read, *unknown])
    question = ["--question", "?"] if task == "qa" else []
    done = bertcli("predict", "-t", task, "--input-format", "jsonl", *question, stdin=lines.encode())
    marked = ["unknown" in json.loads(line) for line in done.stdout.splitlines()]
    assert marked == 100 * [*[False] * len(read), *[True] * len(unknown)]
    assert b"400 of 900 texts are mostly unknown to this model: Thai? Cyrillic? Arabic?" in done.stderr


def test_the_embedded_model_is_not_changed_by_tuning(bertcli: Run, tmp_path: Path) -> None:
    config = model.BUILTIN / "question-answering" / "config.json"
    before = config.read_bytes()
    rows = [{"question": "Who met?", "context": "Ann met Bob.", "answers": own} for own in (["Ann"], [])]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    try:
        done = bertcli("evaluate", "-t", "qa", "a.jsonl", "--null-threshold", "auto")
        assert config.read_bytes() == before
    finally:
        config.write_bytes(before)
    threshold = json.loads(done.stdout)["null_threshold"]
    assert f"null_threshold {threshold} is not stored: the embedded model stays as it is" in done.stderr.decode()


def score(task: str, file: Path, count: int, tmp_path: Path, options: Options | None = None) -> dict[str, float]:
    raw = tmp_path / file.name.removesuffix(".xz")
    if raw != file:
        raw.write_bytes(lzma.decompress(file.read_bytes()))
    session = open_session(Request(task=task), options or Options())
    records = islice(read([str(raw)]), count)
    windows = stream(session.task, session.backend, records)
    predicted = collect(session.task, (outcome for window in windows for outcome in window))
    return scores(session.task, predicted).metrics


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "entities", "least"), [("en_ewt", 2077, 1088, 0.72), ("zh_gsdsimp", 500, 763, 0.75)]
)
def test_entities_of_both_languages_are_found_as_the_card_says(
    name: str, count: int, entities: int, least: float, tmp_path: Path
) -> None:
    (file,) = (DATA / "open" / f"uner_{name}").glob("*test.iob2*")
    metrics = score("ner", file, count, tmp_path)
    assert metrics["support"] == entities
    assert metrics["f1"] > least


@needs_data
@pytest.mark.parametrize(("language", "least"), [("en", 0.84), ("zh", 0.81)])
def test_similarities_are_as_the_card_says(language: str, least: float, tmp_path: Path) -> None:
    folder = DATA / "research"
    if language == "zh":
        rows = list(csv.reader(_lines(folder / "stsb_zh" / "stsb-zh-dev.csv")))
    else:
        rows = [line.split("\t")[7:10] for line in _lines(folder / "stsb" / "dev.tsv")[1:]]
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["a", "b", "score"], *(row[-3:] for row in rows[:400])])
    options = Options(text_field="a", pair_field="b", label_field="score")
    assert score("embed", tmp_path / "pairs.csv", 400, tmp_path, options)["spearman"] > least


def _lines(file: Path) -> list[str]:
    packed = file.with_name(file.name + ".xz")
    content = lzma.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    return content.decode("utf-8-sig").splitlines()


@needs_data
def test_questions_of_squad_are_answered_as_the_card_says(tmp_path: Path) -> None:
    metrics = score("qa", DATA / "open" / "squad" / "dev-v1.1.json.xz", 400, tmp_path)
    assert metrics["f1"] > 0.75

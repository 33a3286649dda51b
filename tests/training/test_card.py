"""Model cards: what the Hub's own parser makes of them, and that an edited one stays."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from bertcli import model
from bertcli.training.artifacts import Facts, balance, is_edited, list_of_sources, table, write_card

SOURCES = {"train": {"/home/me/train.tsv": {"records": 1200, "sha256": "ab12"}, "-": {"records": 3}}}


def facts(**changes: object) -> Facts:
    values = {
        "task": "text-classification", "title": "films", "base": "bert-base-uncased", "hub_base": "bert-base-uncased",
        "problem": "single_label_classification", "labels": ["bad", "a|b"], "device": "cpu fp32", "tested": "dev.tsv",
        "settings": {"lr": 1e-4, "dropout": None}, "limits": ["It knows films."], "data": list_of_sources(SOURCES),
        "metrics": {"accuracy": 0.9, "mcc": None, "log_loss": float("inf"), "per_class": {}, "step": 7,
                    "intervals": {"accuracy": [0.85, 0.94]}},
    }  # fmt: skip
    return Facts(**values | changes)  # type: ignore[arg-type]


def test_the_hub_reads_the_front_matter(tmp_path: Path) -> None:
    write_card(tmp_path, "finetuned", facts())
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.to_dict() == {
        "library_name": "transformers", "pipeline_tag": "text-classification", "base_model": "bert-base-uncased",
        "tags": ["bertcli"], "metrics": ["accuracy"],
        "model-index": [{"name": "films", "results": [{
            "task": {"type": "text-classification"}, "dataset": {"type": "custom", "name": "dev.tsv", "split": "dev"},
            "metrics": [{"type": "accuracy", "value": 0.9}],
        }]}],
    }  # fmt: skip
    assert read.data.eval_results[0].metric_value == 0.9


def test_the_page_tells_results_with_intervals_data_limits_and_settings(tmp_path: Path) -> None:
    write_card(tmp_path, "finetuned", facts())
    assert (
        ModelCard.load(tmp_path / "README.md").text.strip()
        == """\
# films

bert-base-uncased, fine-tuned with bertcli for single label classification. Labels, by id: bad, a|b.

    bertcli predict -m . < texts.txt

## Results on the dev data

Of the saved weights, computed in fp32, on dev.tsv.

| | | 95 % interval |
|---|---|---|
| accuracy | 0.9000 | 0.8500 to 0.9400 |

## Data

* train: train.tsv, 1,200 records, sha256 `ab12`
* train: stdin, 3 records

## Limits

* It knows films.

## Settings

Trained on cpu fp32; `bertcli.yaml` has all settings and the versions of the packages.

| | |
|---|---|
| lr | 0.0001 |"""
    )


@pytest.mark.parametrize("metrics", [None, {}, {"f1": None}])
def test_without_results_there_is_no_index_of_them(tmp_path: Path, metrics: dict[str, None] | None) -> None:
    write_card(tmp_path, "pretrained", facts(metrics=metrics, hub_base=None))
    read = ModelCard.load(tmp_path / "README.md")
    assert set(read.data.to_dict()) == {"library_name", "pipeline_tag", "tags"} and "None was measured." in read.text


def test_only_what_bertcli_wrote_is_replaced(tmp_path: Path) -> None:
    assert not is_edited(tmp_path)
    digest = write_card(tmp_path, "finetuned", facts())
    assert is_edited(tmp_path)  # nothing says who wrote it
    (tmp_path / "bertcli.yaml").write_text(yaml.safe_dump({"provenance": {"card": digest}}))
    assert not is_edited(tmp_path)
    with (tmp_path / "README.md").open("a") as file:
        file.write("\nMy own words.\n")
    assert is_edited(tmp_path)
    (tmp_path / "bertcli.yaml").write_text("no: [settings")
    assert is_edited(tmp_path)


def test_tables_and_balance_are_readable() -> None:
    assert (
        table({"a|b": "1\n2", "x": 0.001, "y": -0.51234})
        == "| | |\n|---|---|\n| a\\|b | 1 2 |\n| x | 0.001 |\n| y | -0.5123 |"
    )
    assert balance({"rare": 1, "usual": 999}) == "usual 999 (99.9%), rare 1 (0.1%)"
    assert balance({str(i): 1 for i in range(25)}).endswith("19 1 (4.0%), and 5 rarer ones")


@pytest.mark.parametrize("name", sorted(path.name for path in model.BUILTIN.iterdir() if path.is_dir()))
def test_the_hub_reads_the_cards_of_the_embedded_models(name: str) -> None:
    read = ModelCard.load(model.BUILTIN / name / "README.md")
    assert read.data.pipeline_tag == name and read.data.license in ("apache-2.0", "mit")
    assert read.data.language in ("en", ["en", "zh"])

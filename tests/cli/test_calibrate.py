"""bertcli calibrate and evaluate --compare with the embedded model."""

import json
from pathlib import Path

from bertcli.model import BUILTIN
from tests.cli.conftest import Run

ROWS = [
    ("a gripping film", "positive"),
    ("a dull mess", "negative"),
    ("utterly boring", "positive"),
    ("fine", "positive"),
]


def test_calibrated_scores_are_used_shown_and_compared(bertcli: Run, tmp_path: Path) -> None:
    data = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)
    (tmp_path / "dev.jsonl").write_text(data)
    (tmp_path / "before.json").write_bytes(bertcli("evaluate", "dev.jsonl").stdout)
    done = bertcli("calibrate", "dev.jsonl", "-o", "m")
    assert done.stderr == b"bertcli: fitted to 4 records, which chance may rule; take 100 or more.\n"
    fitted = json.loads(done.stdout)
    assert fitted["temperature"] > 1 and fitted["records"] == 4
    assert fitted["after"]["nll"] < fitted["before"]["nll"]
    after = json.loads(bertcli("evaluate", "dev.jsonl", "-m", "m", "--compare", "before.json").stdout)
    assert after["calibration"]["temperature"] == fitted["temperature"] and after["calibration"]["records"] == 4
    assert after["comparison"]["differences"]["accuracy"]["value"] == 0.0
    assert after["comparison"]["mcnemar_p"] == 1.0 and after["comparison"]["fixed"] == []
    done = bertcli("predict", "-m", "m", "-v", stdin=b"a gripping film\n")
    assert 0.5 < json.loads(done.stdout)["score"] < 0.99
    assert b"scores calibrated on 4 records" in done.stderr
    done = bertcli("calibrate", "dev.jsonl", "-m", "m", "-o", "m/inside", expect=2)
    assert done.stderr.endswith(b"it is inside the model, which is copied there; name one elsewhere.\n")
    assert not (tmp_path / "m" / "inside").exists()


def test_what_cannot_be_calibrated_is_refused_before_the_input_is_read(bertcli: Run) -> None:
    done = bertcli("calibrate", "-t", "qa", "-o", "m", expect=2)
    assert done.stderr == b"bertcli: question-answering has no probabilities of classes to calibrate.\n"


def test_the_embedded_model_says_where_a_copy_goes(bertcli: Run) -> None:
    before = (BUILTIN / "text-classification" / "config.json").read_bytes()
    done = bertcli("calibrate", stdin=b"x\n", expect=2)
    assert b"the embedded model stays as it is; -o DIR writes a calibrated copy" in done.stderr
    assert (BUILTIN / "text-classification" / "config.json").read_bytes() == before

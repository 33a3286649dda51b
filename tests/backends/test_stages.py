"""A model in two stages: which rows leave after the first, and that the others alone pass the second."""

from typing import Any

import numpy as np

from bertcli.backends import BaseBackend, Stages


class First(BaseBackend):
    """The exit's logits of a row are its first id and 0; its states are its ids."""

    def __init__(self) -> None:
        self.name, self.precision, self.streams = "fake", "fp32", 3

    def run(self, batch: Any) -> Any:
        ids = batch["input_ids"].astype(np.float32)
        return {"exit_logits": np.stack([ids[:, 0], np.zeros(len(ids), np.float32)], 1), "states": ids}


class Rest(First):
    """The logits of a row are the sum of its states and 1; remembers how many rows it got."""

    shapes = {"logits": [None, 2]}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def run(self, batch: Any) -> Any:
        assert len(batch["attention_mask"]) == len(batch["states"])
        self.rows.append(len(batch["states"]))
        return {"logits": np.stack([batch["states"].sum(1), np.ones(len(batch["states"]), np.float32)], 1)}


def stages(ids: list[list[int]]) -> tuple[Stages, Rest, dict[str, Any]]:
    rest = Rest()
    array = np.array(ids)
    return Stages(First(), rest, 3, 6), rest, {"input_ids": array, "attention_mask": np.ones_like(array)}


def test_sure_rows_keep_the_logits_of_the_exit_and_the_others_pass_the_rest() -> None:
    backend, rest, batch = stages([[9, 1], [2, 5], [8, 1], [3, 3]])
    backend.is_sure = lambda logits: logits[:, 0] > 5
    outputs = backend.run(batch)
    assert outputs["logits"].tolist() == [[9, 0], [7, 1], [8, 0], [6, 1]]
    assert outputs["layers"].tolist() == [3, 6, 3, 6]
    assert outputs.keys() == {"logits", "layers"} and rest.rows == [2]


def test_the_rest_does_not_run_where_all_rows_leave() -> None:
    backend, rest, batch = stages([[9, 1], [8, 1]])
    backend.is_sure = lambda logits: logits[:, 0] > 5
    assert backend.run(batch)["layers"].tolist() == [3, 3]
    assert rest.rows == []


def test_without_a_rule_all_rows_pass_all_layers_and_both_logits_are_there() -> None:
    backend, rest, batch = stages([[9, 1], [2, 5]])
    outputs = backend.run(batch)
    assert outputs["logits"].tolist() == [[10, 1], [7, 1]] and outputs["exit_logits"].tolist() == [[9, 0], [2, 0]]
    assert rest.rows == [2]
    assert (backend.streams, dict(backend.shapes), backend.precision) == (3, {"logits": [None, 2]}, "fp32")

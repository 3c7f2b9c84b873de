import json
from collections import Counter
from itertools import product

import pytest

from tutelage.quickstart.shop.tasks import KINDS, make_tasks
from tutelage.quickstart.shop.vocabulary import VOCABULARIES
from tutelage.quickstart.shop.wording import understand
from tutelage.trace import Task

SEEDS = (0, 1, 7)


def names(tasks: list[Task]) -> set[str]:
    """Every product name, word of one, product id, order id and customer of the tasks' shops."""
    found: set[str] = set()
    for task in tasks:
        for item in task.setup["products"]:
            found |= {item["id"], item["name"], *item["name"].split()}
        for order in task.setup["orders"]:
            found |= {order["id"], order["customer"]}
        found |= {customer["name"] for customer in task.setup["customers"]} | set(task.setup["order_ids"])
    return found


def test_training_and_evaluation_share_no_name_whatever_the_seeds() -> None:
    for train, evaluate in product(SEEDS, SEEDS):
        assert not names(make_tasks("train", 240, train)) & names(make_tasks("evaluate", 60, evaluate))


def test_the_vocabularies_hold_no_word_twice() -> None:
    train, evaluate = VOCABULARIES["train"], VOCABULARIES["evaluate"]
    for words in zip(vars(train).values(), vars(evaluate).values(), strict=True):
        assert max(Counter([*words[0], *words[1]]).values()) == 1


@pytest.mark.parametrize("split", ["train", "evaluate"])
def test_the_same_seed_gives_the_same_tasks_and_another_seed_others(split: str) -> None:
    assert make_tasks(split, 30, 3) == make_tasks(split, 30, 3)
    assert make_tasks(split, 30, 3)[:10] == make_tasks(split, 10, 3)
    assert make_tasks(split, 30, 3) != make_tasks(split, 30, 4)


def test_the_kinds_are_mixed_evenly() -> None:
    tasks = make_tasks("train", 80, 0)
    for start in range(0, 80, 8):
        assert {task.kind for task in tasks[start : start + 8]} == set(KINDS)


def test_task_ids_and_wordings_are_unique() -> None:
    tasks = make_tasks("train", 240, 0) + make_tasks("evaluate", 60, 0)
    assert len({task.id for task in tasks}) == len({task.turns for task in tasks}) == 300


def test_every_wording_can_be_understood_and_some_tasks_have_two_turns() -> None:
    tasks = make_tasks("train", 240, 0)
    assert all(understand(turn) for task in tasks for turn in task.turns)
    assert {task.kind for task in tasks if len(task.turns) == 2} == {"cancel", "refuse to cancel", "price, then order"}


def test_orders_to_refuse_are_worded_like_orders_to_place() -> None:
    wishes = {task.kind: set() for task in make_tasks("train", 8, 0)}
    for task in make_tasks("train", 400, 0):
        wishes[task.kind].add(understand(task.turns[-1]).kind)
    assert wishes["order"] == wishes["refuse to order"]
    assert wishes["cancel"] == wishes["refuse to cancel"]


def test_a_task_survives_its_file() -> None:
    for task in make_tasks("evaluate", 16, 0):
        assert Task.model_validate(json.loads(task.model_dump_json())) == task

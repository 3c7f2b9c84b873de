"""The verifier on rollouts made by hand from the scripted expert's steps, without any server."""

from pathlib import Path

import pytest
from shop_helpers import desk

from tutelage.quickstart.shop.database import Shop
from tutelage.quickstart.shop.tasks import KINDS, make_tasks
from tutelage.quickstart.shop.verify import answers, prepare
from tutelage.trace import Message, StopReason, Task, ToolCall
from tutelage.world import Reward, open_world

TASKS = make_tasks("evaluate", 64, 2)


def of_kind(kind: str, turns: int | None = None) -> Task:
    return next(task for task in TASKS if task.kind == kind and (turns is None or len(task.turns) == turns))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind} {task.id}")
def test_the_expert_passes_and_its_answers_alone_do_not(task: Task, tmp_path: Path) -> None:
    with desk(task, tmp_path) as expert:
        expert.expert()
        assert expert.judge() == Reward(1.0, "as expected")
        said = answers(expert.messages)
    with desk(task, tmp_path) as guesser:  # the right words, no look
        guesser.messages = []
        for turn, answer in zip(task.turns, said, strict=True):
            guesser.messages += [Message(role="user", content=turn), Message(role="assistant", content=answer)]
        assert guesser.judge() == Reward(0.0, "answered without calling a tool", "no tool call")


@pytest.mark.parametrize("kind", KINDS)
def test_doing_nothing_never_passes(kind: str, tmp_path: Path) -> None:
    task = of_kind(kind)
    with desk(task, tmp_path) as idle:
        assert idle.judge(None).category == "unfinished"
        for turn in task.turns:
            idle.messages += [Message(role="user", content=turn), Message(role="assistant", content="")]
        assert idle.judge().value == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_looking_at_something_else_never_passes(kind: str, tmp_path: Path) -> None:
    """One call that is none of the evidence, then the expert's own answers."""
    task = of_kind(kind)
    with desk(task, tmp_path) as expert:
        expert.expert()
        said = answers(expert.messages)
    with desk(task, tmp_path) as guesser:
        guesser.call("search", query="zzz")
        for index, answer in enumerate(said):
            if index:
                guesser.messages.append(Message(role="user", content=task.turns[index]))
            guesser.say(answer)
        reward = guesser.judge()
        assert reward.value == 0.0 and reward.category in ("wrong tool", "wrong argument")


def test_placing_an_order_that_should_be_refused_is_named_so(tmp_path: Path) -> None:
    with desk(of_kind("refuse to order"), tmp_path) as rash:
        draft = rash.call("draft", **rash.task.setup["expected"]["evidence"][0]["arguments"])
        rash.call("place", order=draft.split()[0])
        rash.say("It is placed.")
        assert rash.judge().category == "did what it should have refused"


def test_cancelling_a_shipped_order_is_named_so(tmp_path: Path) -> None:
    with desk(of_kind("refuse to cancel", turns=1), tmp_path) as rash:
        order = rash.task.setup["orders"][0]["id"]
        rash.call("show", id=order)
        rash.call("cancel", order=order)
        rash.say(f"Order {order} is cancelled.")
        assert rash.judge().category == "did what it should have refused"


def test_a_refusal_needs_its_reason_and_has_to_refuse(tmp_path: Path) -> None:
    task = of_kind("refuse to cancel", turns=1)
    order, status = task.setup["orders"][0]["id"], task.setup["orders"][0]["status"]
    for said, value in (
        (f"Sorry, {order} is already {status}, so I can't cancel it.", 1.0),
        (f"I did not cancel {order}.", 0.0),
        (f"Order {order} was {status} and is cancelled.", 0.0),
    ):
        with desk(task, tmp_path) as clerk:
            clerk.call("show", id=order)
            clerk.say(said)
            assert clerk.judge().value == value, said


def test_a_refused_order_may_be_worded_freely_but_has_to_hold_the_fact(tmp_path: Path) -> None:
    task = next(
        task for task in TASKS if task.kind == "refuse to order" and task.setup["customers"][0]["budget"] < 1000
    )
    budget = task.setup["customers"][0]["budget"]
    for said, value in (
        (f"Unfortunately this is above the budget of ${budget}.", 1.0),
        ("Unfortunately this is above the budget.", 0.0),
        (f"Unfortunately only {budget} are in stock.", 0.0),
    ):
        with desk(task, tmp_path) as clerk:
            clerk.call("draft", **task.setup["expected"]["evidence"][0]["arguments"])
            clerk.say(said)
            assert clerk.judge().value == value, said


def test_the_wrong_product_is_a_wrong_argument(tmp_path: Path) -> None:
    with desk(of_kind("order"), tmp_path) as clerk:
        wanted = clerk.task.setup["expected"]["orders"][0]
        other = next(item["id"] for item in clerk.task.setup["products"] if item["id"] != wanted["product"])
        draft = clerk.call("draft", **{**wanted, "product": other})
        clerk.call("place", order=draft.split()[0])
        clerk.say("It is placed.")
        assert clerk.judge().category == "wrong argument"


def test_a_draft_left_unplaced_is_giving_up(tmp_path: Path) -> None:
    with desk(of_kind("order"), tmp_path) as clerk:
        clerk.call("draft", **clerk.task.setup["expected"]["orders"][0])
        clerk.say("I did not order.")
        assert clerk.judge().category == "gave up"
        assert [order.status for order in Shop(clerk.world.folder).orders()][-1] == "draft"


def test_ordering_twice_does_not_pass(tmp_path: Path) -> None:
    with desk(of_kind("order"), tmp_path) as clerk:
        clerk.expert()
        draft = clerk.call("draft", **clerk.task.setup["expected"]["orders"][0])
        clerk.call("place", order=draft.split()[0])
        clerk.say("Done.")
        assert clerk.judge().category == "wrong argument"


def test_an_answer_with_a_wrong_number_is_a_wrong_answer(tmp_path: Path) -> None:
    task = next(task for task in TASKS if task.kind == "look up" and "shows" in task.setup["expected"]["evidence"][0])
    turn = task.setup["expected"]["turns"][0]
    right, wrong = turn["facts"][0][0], turn["wrong"][0]
    for said, value in (
        (f"${right}.00", 1.0),
        (f"It costs {right}.", 1.0),
        (f"It costs {right}.50", 0.0),
        (f"It costs 1{right}.", 0.0),
        (f"It costs {wrong}.", 0.0),
        (f"They cost {right} and {wrong}.", 0.0),
    ):
        with desk(task, tmp_path) as clerk:
            shown = task.setup["expected"]["evidence"][0]["shows"]
            name = next(item["name"] for item in task.setup["products"] if item["id"] == shown)
            clerk.call("search", query=name)
            clerk.say(said)
            assert clerk.judge().value == value, said


def test_a_rollout_that_was_stopped_is_unfinished(tmp_path: Path) -> None:
    with desk(of_kind("order"), tmp_path) as clerk:
        clerk.call("search", query="zzz")
        assert clerk.judge(StopReason.REPEATED_CALL).category == "unfinished"


def test_malformed_arguments_count_as_a_call_without_evidence(tmp_path: Path) -> None:
    with desk(of_kind("refuse to cancel", turns=1), tmp_path) as clerk:
        bad = ToolCall(id="x", name="show", arguments='{"id": ')
        clerk.messages += [
            Message(role="assistant", tool_calls=(bad,)),
            Message(role="tool", tool_call_id="x", content="malformed", is_error=True),
        ]
        clerk.say("I did not cancel it: it is already shipped or delivered.")
        assert clerk.judge().category == "wrong argument"


def test_a_task_without_a_shop_gets_a_sample_one(tmp_path: Path) -> None:
    with open_world(Task(id="chat", turns=("Hello",)), tmp_path, prepare) as world:
        assert Shop(world.folder).orders()

"""Writes tasks/train.jsonl and tasks/evaluate.jsonl: python make_tasks.py."""

import json
import random
from pathlib import Path
from typing import Any

ROOMS = ("Amber", "Birch", "Cobalt", "Dune", "Ember", "Fjord", "Garnet", "Heath")
FIRST, LAST = ("Anna", "Ben", "Cleo", "Dan", "Eva", "Finn"), ("Berg", "Costa", "Diaz", "Ito", "Novak", "Okoye")


def make_task(id: str, kind: str, random: random.Random) -> dict[str, Any]:
    seats, prices = random.sample(range(4, 40, 2), 5), random.sample(range(30, 200, 5), 5)
    names = random.sample(ROOMS, 5)
    rooms = [
        {"name": name, "seats": seat, "price": price} for name, seat, price in zip(names, seats, prices, strict=True)
    ]
    person, day = (
        f"{random.choice(FIRST)} {random.choice(LAST)}",
        f"2027-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
    )
    room = random.choice(rooms)
    if kind == "seats":
        prompt, wanted = f"how many seats does the {room['name']} room have?", {"seats": room["seats"]}
    elif kind == "book":
        prompt = f"book the {room['name']} room for {person} on {day} and tell me the booking number."
        wanted = {"room": room["name"], "name": person, "day": day}
    else:
        least = sorted(seats)[2]
        best = min((one for one in rooms if one["seats"] >= least), key=lambda one: one["price"])
        prompt = (
            f"book the cheapest room with at least {least} seats for {person} on {day} and tell me the booking number."
        )
        wanted = {"room": best["name"], "name": person, "day": day}
    setup = {"rooms": rooms, "wanted": wanted}
    return {"id": id, "kind": kind, "prompt": f"On http://rooms.test, {prompt}", "setup": setup}


if __name__ == "__main__":
    for split, count in (("train", 24), ("evaluate", 9)):
        drawn = random.Random(split)
        tasks = [make_task(f"{split}-{n:02}", ("seats", "book", "cheapest")[n % 3], drawn) for n in range(count)]
        Path(__file__).with_name("tasks").joinpath(f"{split}.jsonl").write_text(
            "".join(json.dumps(task) + "\n" for task in tasks)
        )

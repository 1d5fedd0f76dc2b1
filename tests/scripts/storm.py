"""Eight processes in the same directories: each creates, renames, links and removes, and writes down what of its own names is left.

usage: storm.py MOUNT LOGS WORKER SECONDS    works, then writes LOGS/WORKER.json
       storm.py --verify MOUNT LOGS          compares what is there with all logs

A worker's own names begin with its number, so that nobody else touches them; names without one are everybody's, and fought over.
"""
import json
import os
import random
import sys
import time

DIRECTORIES = ["one", "two", "two/three", "four"]


def work(mount, logs, worker, seconds):
    dice = random.Random(worker)
    for directory in DIRECTORIES:
        os.makedirs(f"{mount}/{directory}", exist_ok=True)
    mine = {}  # path -> content, hard links are names of the same list
    number = operations = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        operations += 1
        place = f"{dice.choice(DIRECTORIES)}/{worker}-{number}"
        number += 1
        kind = dice.randrange(8)
        if kind <= 2 or not mine:
            content = f"{worker} {number} " * dice.randrange(1, 400)
            with open(f"{mount}/{place}", "x") as file:
                file.write(content)
            mine[place] = [content]
        elif kind == 3:
            old = dice.choice(list(mine))
            os.rename(f"{mount}/{old}", f"{mount}/{place}")
            mine[place] = mine.pop(old)
        elif kind == 4:
            old = dice.choice(list(mine))
            os.link(f"{mount}/{old}", f"{mount}/{place}")
            mine[place] = mine[old]
        elif kind == 5:
            old = dice.choice(list(mine))
            os.unlink(f"{mount}/{old}")
            del mine[old]
        elif kind == 6:
            # Over another of its own.
            old, over = dice.choice(list(mine)), dice.choice(list(mine))
            os.rename(f"{mount}/{old}", f"{mount}/{over}")
            if mine[old] is not mine[over]:
                mine[over] = mine.pop(old)
        else:
            fight(mount, dice)
    with open(f"{logs}/{worker}.json", "w") as file:
        json.dump({"operations": operations, "left": {path: content[0] for path, content in mine.items()}}, file)


def fight(mount, dice):
    """Something with a name that all want; whoever comes second is refused, in one of the ways that POSIX has for it."""
    name = lambda: f"{mount}/{dice.choice(DIRECTORIES)}/shared-{dice.randrange(6)}"
    actions = [
        lambda: os.mkdir(name()),
        lambda: os.rmdir(name()),
        lambda: os.rename(name(), name()),
        lambda: os.unlink(name()),
        lambda: os.link(name(), name()),
        lambda: os.symlink("nowhere", name()),
        lambda: os.listdir(name()),
        lambda: open(name(), "a").write("x"),
    ]
    try:
        dice.choice(actions)()
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        pass
    except OSError as error:
        # ENOTEMPTY, EINVAL (into itself), EMLINK, ELOOP.
        if error.errno not in (39, 22, 31, 40):
            raise


def verify(mount, logs):
    expected, operations = {}, 0
    for log in sorted(os.listdir(logs)):
        with open(f"{logs}/{log}") as file:
            said = json.load(file)
        expected.update(said["left"])
        operations += said["operations"]
    found = {}
    for directory in DIRECTORIES:
        for name in os.listdir(f"{mount}/{directory}"):
            if name[0].isdigit():
                with open(f"{mount}/{directory}/{name}") as file:
                    found[f"{directory}/{name}"] = file.read()
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    wrong = [path for path in expected.keys() & found.keys() if expected[path] != found[path]]
    if missing or surplus or wrong or not expected:
        sys.exit(f"missing {sorted(missing)[:5]}, surplus {sorted(surplus)[:5]}, wrong {sorted(wrong)[:5]} of {len(expected)}")
    print(f"{operations} operations of {len(os.listdir(logs))} processes: {len(expected)} files are as their logs say")


if sys.argv[1] == "--verify":
    verify(*sys.argv[2:])
else:
    work(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

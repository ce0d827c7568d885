#!/usr/bin/env python3
"""Compares figures of tests/lab/bench with those of a baseline.

    tests/lab/guard.py BASELINE [FIGURES]      (without FIGURES: whether BASELINE can be used)

Both are JSON as tests/lab/figures.py describes it. Status 1, and a line each, for:
- a figure of husk's, behind either wall, that is more than 3% worse. What is small may differ by what an unrelated change
  of layout moves (LEAST below), and what did not repeat to 3% by as much as it did not;
- a promise that the baseline keeps and these figures break, however narrowly.
A figure more than 3% better is a line, too, and no failure. Peers are not compared, and neither is the ratio of
the walls: it also grows when the smaller one becomes faster.

Status 125 when the two cannot be compared: a baseline that cannot be read, that has another schema, or
that has not the same figures. Reasons of exits are the exception, since rare ones come and go: one
that is not there counts as none.

Figures that another kernel or QEMU made say nothing about husk: host code is a good part of them. Then
that is said, nothing is compared, and the status is 0: a machine that has a newer lab is not broken.
"""

import json
import sys

SCHEMA = 1

PERCENT = 3
LEAST = {"ms": 0.1, "instructions": 20_000, "exits": 10, "MiB": 0.1}

# What is a difference of two others may differ by what these do: half a percent of a run, twice.
DIFFERENCES = {"husk.more_ram": 0.4}

# Whose figures are compared: husk's own, of a machine and of a container.
OURS = ("husk.", "container.")


def refuse(text):
    print(f"guard: {text}", file=sys.stderr)
    sys.exit(125)


def load(path):
    """The lab of a file, and husk's figures by name."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document["schema"] != SCHEMA:
            refuse(f"{path} has schema {document['schema']}, not {SCHEMA}: renew it")
        figures = {figure["name"]: figure for figure in document["figures"]}
        for figure in figures.values():
            least = 0 if figure["unit"] == "times" else LEAST[figure["unit"]]
            _ = least + figure["value"] + figure["spread_percent"]
        lab = f"{document['lab']['kernel']} under QEMU {document['lab']['qemu']}"
    except (OSError, ValueError) as error:
        refuse(f"{path} cannot be read: {error}")
    except (KeyError, TypeError, AttributeError):
        refuse(f"{path} does not have what figures have: renew it")
    return lab, {name: figure for name, figure in figures.items() if is_compared(figure)}


def is_compared(figure):
    return figure["name"].startswith(OURS) and figure["unit"] in LEAST


def same_figures(path, base, now):
    for name in [*base, *now]:
        if name.startswith("husk.exits."):
            nothing = {"unit": "exits", "value": 0, "spread_percent": 0}
            base.setdefault(name, nothing)
            now.setdefault(name, nothing)
        elif name not in now:
            refuse(f"{path} has {name}, which is no longer measured: renew it")
        elif name not in base:
            refuse(f"{path} has no {name}: renew it")


def show(figure):
    return f"{figure['value']:,} {figure['unit']}"


def compare(base, now):
    """Lines about what is worse, and about what is better."""
    worse, better = [], []
    for name, was in base.items():
        is_ = now[name]
        change = is_["value"] - was["value"]
        percent = f"{change * 100 / was['value']:+.1f}%" if was["value"] else "new"
        line = f"{name}: baseline {show(was)}, now {show(is_)}, {percent}"
        share = max(PERCENT, was["spread_percent"]) / 100
        least = DIFFERENCES.get(name, LEAST[was["unit"]])
        allowed = max(abs(was["value"]) * share, least)
        if change > allowed:
            worse.append(f"worse: {line}")
        elif change < -allowed:
            better.append(f"better: {line}")
        if was["value"] <= is_.get("goal", 0) < is_["value"]:
            worse.append(f"promise broken: {name}: now {show(is_)}, promised {is_['goal']:,}")
    return worse, better


def main(path, figures=None):
    lab, base = load(path)
    if figures is None:
        return 0
    our_lab, now = load(figures)
    if lab != our_lab:
        print(f"guard: not compared: this is {our_lab}, and {path} is of {lab}")
        return 0
    same_figures(path, base, now)
    worse, better = compare(base, now)
    for line in worse + better:
        print(f"guard: {line}")
    if worse:
        return 1
    if better:
        print(f"guard: keep what was won: tests/lab/bench --json {path}")
    else:
        print(f"guard: as {path} says")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

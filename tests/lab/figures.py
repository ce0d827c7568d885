#!/usr/bin/env python3
"""Makes figures of what the lab saw (tests/lab/samples), and shows them as a table.

    tests/lab/figures.py make KERNEL QEMU <RECORDS >FIGURES
    tests/lab/figures.py show <FIGURES

KERNEL is the package of the lab's kernel, QEMU the version that emulates it. FIGURES are JSON:

    {"schema": 1,
     "lab": {"kernel": "linux-image-6.1.0-56-amd64_6.1.192-2", "qemu": "7.2.22"},
     "figures": [{"name": "husk.whole", "unit": "ms", "value": 44.9, "goal": 45,
                  "spread_percent": 0.2}, ...]}

A name says who, then what (FIGURES below); a unit is ms (virtual: a million instructions of host
and guest), instructions, exits, MiB or times. A value is the median, a spread what lies between the least
and the greatest sample, relative to it; goals are the most that is promised. `container` and `runc` are husk, too,
with its namespace wall made by itself and by runc. Names below `husk.phase.`, `container.phase.` and `runc.phase.`
are husk's own phases, those below `husk.exits.` KVM's reasons, which come and go.
"""

import json
import re
import sys
from collections import Counter
from statistics import median

SCHEMA = 1

# What is measured of everybody, with its unit and what husk promises. Phases follow the whole,
# reasons the exits.
FIGURES = {
    "whole": ("ms", 45),  # process start to process end, warm
    "ratio": ("times", None),  # what husk's whole is of this one's: the machine's price
    "host_side": ("ms", 8),  # process start to the vCPU's first entry into the guest
    "guest_instructions": ("instructions", 12_000_000),  # from there to init's first instruction
    "exits": ("exits", 1_500),  # from there to the guest's end
    "teardown": ("ms", 8),  # the guest's last exit to process end
    "vmm_private": ("MiB", 3),  # private memory of the machine's process beside the guest's, idle
    "run_private": ("MiB", None),  # the same of the process that waits for it, where there is one
    "guest_touched": ("MiB", 14),  # the guest's own memory that an idle guest has touched
    "more_ram": ("ms", 2),  # what 2 GiB of memory cost more than 128 MiB
    "exec": ("ms", 6),  # `husk exec NAME true`, process start to process end
    "ps": ("ms", 10),  # `husk ps -a` of 100 machines, the same
}
DIGITS = {"ms": 3, "instructions": 0, "exits": 0, "MiB": 2, "times": 2}

# Whose runs say their phases.
SAY_PHASES = ("husk", "container", "runc")

# Memory of every guest that idles, bytes.
GUEST = 128 << 20


def fail(text):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(125)


class Samples(dict):
    """Lists of samples by the name of their figure, in the order in which they first came."""

    def add(self, name, value):
        self.setdefault(name, []).append(value)


def records(lines):
    """Pairs of a head's words and the lines below it."""
    head, body = None, []
    for line in lines:
        if line.startswith("@ "):
            if head:
                yield head, body
            head, body = line[2:].split(), []
        else:
            body.append(line.rstrip("\n"))
    if head:
        yield head, body


def read_time(samples, name, milliseconds, body):
    samples.add(f"{name}.whole", float(milliseconds))
    if name not in SAY_PHASES:
        return
    # The last line of `husk run --json`; its phases stand in the order in which they passed.
    try:
        phases = json.loads(body[-1])["phases_ms"]
    except (IndexError, KeyError, ValueError):
        fail(f"{name} printed no phases_ms")
    for phase, length in phases.items():
        samples.add(f"{name}.phase.{phase}", length)


EVENT = re.compile(r".*-\d+ +\[\d+\] +\S+ +(\d+): (\w+): (.*)")

# Before the guest, husk has the same vCPU say what kind of KVM it is, from a page of its own
# (src/kvm/flavour.rs).
PROBE = re.compile(r"rip 0xfffbb...$")


class Trace:
    """KVM's trace of one run: its clock counts instructions, host's and guest's alike."""

    def __init__(self, body):
        events = [match.groups() for match in map(EVENT.match, body) if match]
        marks = [int(time) for time, event, _ in events if event == "tracing_mark_write"]
        self.reasons = Counter()
        # Stays in the guest: when each began, and how long each took, without the host's ticks.
        self.stays = []
        self.reached_init = None
        entered, ticks, tick = None, 0, 0
        for time, event, words in events:
            time = int(time)
            if event == "local_timer_entry":
                tick = time
            elif event == "local_timer_exit":
                ticks += time - tick
            elif event == "kvm_entry":
                entered, ticks = (None if PROBE.search(words) else time), 0
            elif event == "kvm_cpuid":
                self.reached_init = self.reached_init or len(self.stays)
            elif event == "kvm_exit" and entered is not None:
                self.stays.append((entered, time - entered - ticks))
                self.reasons[re.search(r"reason (\S+)", words)[1]] += 1
                last_exit = time
        if not self.stays or len(marks) != 2:
            fail("a trace without a guest: did the lab's kernel lose events?")
        self.host_side = (self.stays[0][0] - marks[0]) / 1e6
        self.teardown = (marks[1] - last_exit) / 1e6

    def guest_instructions(self):
        """What the guest executed until init's first instruction. A stay begins and ends at KVM's
        tracepoints, a thousand instructions from the guest, always the same: as many as the
        shortest stay takes, whose guest executes one or two."""
        world_switch = min(length for _, length in self.stays)
        return sum(length - world_switch for _, length in self.stays[: self.reached_init])


def read_trace(samples, name, body):
    trace = Trace(body)
    if name != "husk":
        # Its init has said so; husk's own does not, so another is booted for this figure.
        if trace.reached_init is None:
            fail(f"the guest of {name} never came to its init")
        who = "husk" if name == "husk-first" else name
        samples.add(f"{who}.guest_instructions", trace.guest_instructions())
    if name != "husk-first":
        samples.add(f"{name}.host_side", trace.host_side)
        samples.add(f"{name}.teardown", trace.teardown)
        samples.add(f"{name}.exits", sum(trace.reasons.values()))
        for reason, count in trace.reasons.most_common():
            samples.add(f"{name}.exits.{reason}", count)


def mappings(body):
    """A process's mappings: where each begins and ends, its file, and its sizes in bytes."""
    found = []
    for line in body:
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)", line):
            found.append((int(match[1], 16), int(match[2], 16), match[3], Counter()))
        elif match := re.match(r"(\w+): +(\d+) kB", line):
            found[-1][3][match[1]] = int(match[2]) << 10
    return found


def find_guest(maps):
    """The guest's memory: the neighbours that together are as large as it, since pieces of it may
    be of a file; and of several such runs the one that has pages, since malloc reserves as much."""
    runs = []
    for first, (begin, end, _, _) in enumerate(maps):
        run = [maps[first]]
        for neighbour in maps[first + 1 :]:
            if neighbour[0] != end or end - begin >= GUEST:
                break
            run.append(neighbour)
            end = neighbour[1]
        if end - begin == GUEST:
            runs.append(run)
    return max(runs, key=resident, default=[])


def resident(maps):
    return sum(sizes["Rss"] for _, _, _, sizes in maps)


def private(maps):
    """What nobody else could share. A file's pages are the page cache's, whoever maps them, until
    they are written: then they are copies."""
    total = 0
    for _, _, name, sizes in maps:
        own = sizes["Private_Clean"] + sizes["Private_Dirty"]
        total += min(own, sizes["Anonymous"]) if name.startswith("/") else own
    return total


def read_memory(samples, name, process, body):
    maps = mappings(body)
    if process == "run":
        samples.add(f"{name}.run_private", private(maps) / (1 << 20))
        return
    guest = find_guest(maps)
    if not guest:
        fail(f"the process of {name} maps nothing as large as its guest's memory")
    rest = [mapping for mapping in maps if mapping not in guest]
    samples.add(f"{name}.vmm_private", private(rest) / (1 << 20))
    samples.add(f"{name}.guest_touched", resident(guest) / (1 << 20))


def read(lines):
    samples = Samples()
    for (kind, name, *words), body in records(lines):
        if kind == "failed":
            last = next((line for line in reversed(body) if line.strip()), "it said nothing")
            fail(f"{name} failed ({words[0]}): {last}")
        elif kind == "time":
            read_time(samples, name, words[0], body)
        elif kind == "verb":
            samples.add(f"husk.{name}", float(words[0]))
        elif kind == "trace":
            read_trace(samples, name, body)
        elif kind == "memory":
            read_memory(samples, name, words[0], body)
    less, more = samples.get("husk.whole"), samples.pop("husk-2g.whole", None)
    if not less or not more or "container.whole" not in samples:
        fail("the lab ended before it had measured everything")
    for name in SAY_PHASES[1:]:
        if whole := samples.get(f"{name}.whole"):
            samples[f"{name}.ratio"] = [ours / theirs for ours, theirs in zip(less, whole)]
    samples["husk.more_ram"] = [two - one for one, two in zip(less, more)]
    return samples


def make_figure(name, values):
    who, what = name.split(".", 1)
    unit, goal = FIGURES[part_of(what)]
    middle = median(values)
    digits = DIGITS[unit]
    value = round(middle, digits) if digits else round(middle)
    figure = {"name": name, "unit": unit, "value": value}
    if who == "husk" and goal is not None and what in FIGURES:
        figure["goal"] = goal
    figure["spread_percent"] = round((max(values) - min(values)) * 100 / abs(middle or 1), 2)
    return figure


def part_of(what):
    """Phases are of the whole, reasons of the exits."""
    kind = what.split(".")[0]
    return "whole" if kind == "phase" else kind


def make(kernel, qemu):
    figures = [make_figure(name, values) for name, values in read(sys.stdin).items()]
    # Parts stay in their order, behind what they are part of: the sort is stable.
    order = list(FIGURES)
    figures.sort(key=lambda figure: order.index(part_of(figure["name"].split(".", 1)[1])))
    lab = json.dumps({"kernel": kernel, "qemu": qemu})
    lines = ",\n  ".join(json.dumps(figure) for figure in figures)
    print(f'{{"schema": {SCHEMA}, "lab": {lab}, "figures": [\n  {lines}\n]}}')


def show():
    document = json.load(sys.stdin)
    rows = {}
    for figure in document["figures"]:
        who, what = figure["name"].split(".", 1)
        rows.setdefault(what, {})[who] = figure
    people = list(dict.fromkeys(who for row in rows.values() for who in row))

    def cell(figure):
        return f"{figure['value']:,.{DIGITS[figure['unit']]}f}" if figure else ""

    # What does not repeat is shown with how much it does not.
    def peer(figure):
        spread = round(figure["spread_percent"]) if figure else 0
        return f"~{spread}% {cell(figure)}" if spread > 1 else cell(figure)

    lab = document["lab"]
    print(f"in {lab['kernel']}, under QEMU {lab['qemu']}; ms are virtual")
    line = "{:24}{:13}{:>11}{:>12}{:>9}  {:7}" + "{:>14}" * (len(people) - 1)
    print(line.format("", "", "goal", people[0], "spread", "", *people[1:]).rstrip())
    for what, row in rows.items():
        ours = row.get(people[0])
        goal = spread = met = ""
        if ours:
            spread = f"{ours['spread_percent']:.2f}%"
        if ours and "goal" in ours:
            goal, met = f"{ours['goal']:,}", "met" if ours["value"] <= ours["goal"] else "MISSED"
        unit = next(iter(row.values()))["unit"]
        peers = [peer(row.get(who)) for who in people[1:]]
        print(line.format(what, unit, goal, cell(ours), spread, met, *peers).rstrip())


if __name__ == "__main__":
    {"make": make, "show": show}[sys.argv[1]](*sys.argv[2:])

"""The table: its rows, what each is aimed at, and how it is shown."""

import statistics
from dataclasses import dataclass

from accounting import CPUS


@dataclass(frozen=True)
class Aim:
    """What a figure of ours has to reach: so many times better than the reference's of the same run, or a bound."""

    times: float = 0
    at_most: float = 0
    at_least: float = 0

    def __str__(self):
        if self.times:
            return f"{self.times:g} times better"
        return f"at most {self.at_most:g}" if self.at_most else f"at least {self.at_least:g}"

    def is_met(self, row, reference, ours):
        if self.times:
            return ratio(row, reference, ours) >= self.times
        return ours <= self.at_most if self.at_most else ours >= self.at_least


@dataclass(frozen=True)
class Row:
    work: str
    scenario: str
    figure: str
    unit: str
    more: bool = False
    aim: Aim | None = None
    # Repetitions of one run, not runs: the table then shows the 10th and the 90th percentile instead of the extremes.
    samples: bool = False


ROWS = (
    Row("relay, 4 KB, a session per message, 20 at a time", "relay", "cpu", "ms CPU per message", aim=Aim(times=3)),
    Row("", "relay", "rate", "messages/s", more=True),
    Row("", "relay", "machine_switches", "context switches per message, whole machine", aim=Aim(at_most=15)),
    Row("", "relay", "switches", "context switches per message, the suite's own"),
    Row("", "relay", "calls", "system calls per message"),
    Row("each further recipient (50 per message)", "recipients", "cpu", "us CPU", aim=Aim(times=10)),
    Row("", "recipients", "machine_switches", "context switches, whole machine"),
    Row("accept and discard", "discard", "cpu", "ms CPU per message", aim=Aim(times=3)),
    Row("", "discard", "rate", "messages/s", more=True),
    Row("accept and hold", "hold", "cpu", "ms CPU per message", aim=Aim(times=3)),
    Row("", "hold", "rate", "messages/s", more=True),
    Row("Maildir by virtual, 10 boxes", "maildir", "cpu", "ms CPU per message", aim=Aim(times=2)),
    Row("", "maildir", "rate", "messages/s", more=True, aim=Aim(times=2)),
    Row("mbox by local, one box", "mbox", "cpu", "ms CPU per message"),
    Row("", "mbox", "rate", "messages/s", more=True, aim=Aim(times=2)),
    Row("idle SMTP session", "idle", "memory", "KB PSS each", aim=Aim(at_most=20)),
    Row("", "idle", "cpu", "ms CPU to open one"),
    Row("1,000 destinations, 200 ms per reply", "slow", "rate", "deliveries/s", more=True, aim=Aim(at_least=1000)),
    Row("", "slow", "memory", "MB PSS", aim=Aim(times=1)),
    Row("", "slow", "cpu", "ms CPU per message"),
    Row("end of data to 250", "latency", "to_reply", "ms", aim=Aim(at_most=0.6), samples=True),
    Row("250 to the next hop's end of data", "latency", "to_next_hop", "ms", aim=Aim(at_most=0.5), samples=True),
    Row("list 100,000 queued: postqueue -p", "list", "cpu", "s CPU", aim=Aim(times=4)),
    Row("", "list", "seconds", "s"),
    Row("", "list", "memory", "MB, most of showq"),
    Row("the same as JSON: postqueue -j", "list_json", "cpu", "s CPU", aim=Aim(times=4)),
    Row("delete them: postsuper -d ALL", "delete", "cpu", "s CPU", aim=Aim(times=2)),
    Row("", "delete", "seconds", "s"),
    Row("start with 100,000 deferred", "start", "first", "s to the first delivery"),
    Row("", "start", "rate", "deliveries/s after it", more=True),
    Row("", "start", "memory", "MB, most of qmgr"),
    Row("cidr table of 10,000, miss", "cidr", "rate", "lookups/s of CPU", more=True, aim=Aim(times=50)),
    Row("pcre table of 1,000, miss", "pcre", "rate", "lookups/s of CPU", more=True, aim=Aim(times=10)),
    Row("lmdb table of 1,000,000", "lmdb", "rate", "lookups/s of CPU", more=True),
)


def ratio(row, reference, ours):
    """How many times better ours is."""
    better, worse = (ours, reference) if row.more else (reference, ours)
    return better / worse if worse > 0 else float("inf")


def values(notes, scenario, suite, figure):
    """All that was noted of a figure."""
    return [note[figure] for note in notes.get((scenario, suite), ()) if note.get(figure) is not None]


def spread(row, found):
    """Median (least-most)."""
    if row.samples:
        ordered = sorted(found)
        low, high = ordered[len(found) // 10], ordered[len(found) * 9 // 10]
    else:
        low, high = min(found), max(found)
    middle = statistics.median(found)
    return f"{number(middle)}" if len(found) == 1 else f"{number(middle)} ({number(low)}-{number(high)})"


def number(value):
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bound(notes, row, suite):
    """What holds a figure up. For CPU: how much of it is in the kernel; else who was busy, of all CPUs."""
    share = lambda name: statistics.median(values(notes, row.scenario, suite, name) or [0])
    if row.figure == "cpu":
        return f"kernel {share('kernel'):.0f} %" if share("kernel") else ""
    if row.figure != "rate" or not values(notes, row.scenario, suite, "share_suite"):
        return ""
    suite_share, load, rest, disk = (share(f"share_{name}") for name in ("suite", "load", "rest", "disk"))
    busy = suite_share + load + rest
    detail = f"suite {suite_share:.0f}, load {load:.0f}, rest {rest:.0f} %"
    if busy > 85:
        return f"CPU: {detail}"
    return (f"disk {disk:.0f} %: {detail}" if disk > 30 else f"waiting: {detail}")


def lines(notes):
    """Rows of the table as tuples of text: the heading first; and the works that miss their aim."""
    heading = ("work", "figure", "Postfix 3.7", "Posthouse", "times better", "aim", "", "bound by: Postfix", "Posthouse")
    table, missed, work = [heading], [], ""
    for row in ROWS:
        work = row.work or work
        reference = values(notes, row.scenario, "postfix", row.figure)
        ours = values(notes, row.scenario, "posthouse", row.figure)
        if not reference or not ours:
            continue
        middle = statistics.median(reference), statistics.median(ours)
        verdict = ""
        if row.aim:
            verdict = "pass" if row.aim.is_met(row, *middle) else "MISS"
            if verdict == "MISS":
                missed.append(f"{work}: {row.unit}")
        table.append((work if row.work or len(table) == 1 else "", row.unit, spread(row, reference), spread(row, ours),
                      number(ratio(row, *middle)), str(row.aim or ""), verdict,
                      bound(notes, row, "postfix"), bound(notes, row, "posthouse")))
    return table, missed


def show(table):
    """A table that reads as text and as Markdown."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    rule = tuple("-" * width for width in widths)
    for line in [table[0], rule, *table[1:]]:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |")


def machine():
    """What the table should say about the machine, without naming it."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    return f"{CPUS} CPUs ({models[0] if models else 'unknown'}), {memory + 1} GB"

"""Lookup tables, asked through postmap: what opening costs is measured apart and taken off."""

import random
import subprocess

from accounting import Window

NETWORKS, PATTERNS, ENTRIES, DOMAINS = 10_000, 1000, 1_000_000, 9973


def tables(bench):
    for instance in bench.instances:
        instance.configure({})
    draw = random.Random(7).randrange
    entries = bench.size(ENTRIES, 20_000)
    entry = lambda number: f"user{number}@domain{number % DOMAINS}.example"
    # A fifth of the addresses are in no network; no subject matches; every entry is there.
    network = lambda number: f"10.{number // 250}.{number % 250}"
    asked = {
        "cidr": (bench.file("cidr", "".join(f"{network(number)}.0/24 found\n" for number in range(NETWORKS))),
                 lambda: f"{network(draw(NETWORKS * 5 // 4))}.{draw(256)}", bench.size(20_000, 2000), 50),
        "pcre": (bench.file("pcre", "".join(f"/^Subject:.*word{number}x/ found\n" for number in range(PATTERNS))),
                 lambda: f"Subject: an ordinary subject, number {draw(10**6)}, about nothing in particular",
                 bench.size(20_000, 2000), 20),
        "lmdb": (bench.file("lmdb", "".join(f"{entry(number)} value{number}\n" for number in range(entries))),
                 lambda: entry(draw(entries)), bench.size(1_000_000, 20_000), 1),
    }
    for kind, (table, key, count, times) in asked.items():
        keys = [key() + "\n" for _ in range(count)]
        few, many = bench.file("few", keys[0]), bench.file("keys", "".join(keys))
        # What is so many times faster is asked more often, or there is nothing to measure.
        more = bench.file("more", "".join(keys) * times)
        for instance in bench.turns(bench.instances):
            if kind == "lmdb":
                built = postmap(bench, instance, f"{kind}:{table}")
                bench.note(kind, instance, {"build": built.load})
            is_ours = instance.suite.libraries is None
            opened = postmap(bench, instance, "-q", "-", f"{kind}:{table}", keys=few)
            window = postmap(bench, instance, "-q", "-", f"{kind}:{table}", keys=more if is_ours else many)
            asked_for = count * times if is_ours else count
            bench.note(kind, instance, {
                "rate": asked_for / max(window.load - opened.load, 1e-6), "open": opened.load * 1e3})


def postmap(bench, instance, *arguments, keys="/dev/null"):
    with open(keys) as file, Window(instance.group, bench.generator.group) as window:
        process = bench.generator.spawn(
            instance.command("postmap", *arguments), env=instance.suite.environment(), stdin=file,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate()
    # 1: not all keys were found.
    if process.returncode not in (0, 1) or errors:
        raise RuntimeError(f"{instance.suite.name}: postmap: {errors}")
    return window

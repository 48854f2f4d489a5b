"""A long queue. Its messages are copies of one that the system itself has accepted and deferred, made by this program:
the queue that the system would have, in a fraction of the time, and the same for both."""

import glob
import os
import re
import subprocess
import time

from accounting import Window, read
from load import free_port
from .through import expect

DEFERRING = {"in_flow_delay": "0", "defer_transports": "smtp", "queue_run_delay": "3600s",
             "minimal_backoff_time": "3600s", "maximal_backoff_time": "3600s"}


def queue(bench):
    count = bench.size(100_000, 2000)
    instances = bench.fresh(DEFERRING)
    templates = {instance: template(bench, instance) for instance in instances}
    for instance in instances:
        fill(instance, templates[instance], count)
    for instance in instances:
        # The first one reads from the disk.
        command(bench, instance, "postqueue", "-p")
    for instance in bench.turns(instances):
        for scenario, option in (("list", "-p"), ("list_json", "-j")):
            output, window, peak = command(bench, instance, "postqueue", option)
            listed = int(re.search(rb"in (\d+) Request", output)[1]) if option == "-p" else output.count(b"\n")
            expect(instance, listed, count)
            bench.note(scenario, instance, cost(window) | {"memory": peak_of(instance, "showq"), "peak": peak})
    for number, instance in enumerate(bench.turns(instances, rounds=min(bench.options.runs, 3))):
        if number >= len(instances):
            fill(instance, templates[instance], count)
        output, window, peak = command(bench, instance, "postsuper", "-d", "ALL")
        expect(instance, int(re.search(rb"Deleted: (\d+) message", output)[1]), count)
        expect(instance, instance.count("deferred", "defer"), 0)
        bench.note("delete", instance, cost(window) | {"peak": peak})


def start(bench):
    count, watched = bench.size(100_000, 500), bench.size(10, 1)
    instances = bench.fresh(DEFERRING)
    templates = {instance: template(bench, instance) for instance in instances}
    for instance in instances:
        instance.stop()
    for instance in bench.turns(instances, rounds=bench.size(2, 1)):
        instance.fresh(DEFERRING)
        instance.stop()
        fill(instance, templates[instance], count, due=True)
        sink = CountingSink(bench)
        instance.configure({"relayhost": f"[127.0.0.1]:{sink.port}"})
        bench.quiet()
        begin = time.monotonic()
        instance.start(wait=False)
        first = sink.wait_for_first()
        with Window(instance.group, bench.generator.group) as window:
            before = sink.messages
            time.sleep(watched)
            delivered = sink.messages - before
        bench.note("start", instance, {
            "first": first - begin, "rate": delivered / window.seconds, "cpu": window.suite * 1e3 / max(delivered, 1),
            "memory": peak_of(instance, "qmgr")} | {f"share_{name}": share for name, share in window.shares().items()})
        instance.stop()
        bench.generator.stop()


def template(bench, instance):
    """A deferred message and its defer log."""
    bench.generator.inject(instance.port, 1, 1)
    instance.wait_until_empty(("maildrop", "incoming", "active"))
    paths = [glob.glob(os.path.join(instance.spool, queue, "?", "*")) for queue in ("deferred", "defer")]
    if [len(found) for found in paths] != [1, 1]:
        raise RuntimeError(f"{instance.suite.name} has not deferred a message\n{instance.log_end()}")
    copies = []
    for (path,) in paths:
        with open(path, "rb") as file:
            copies.append((file.read(), os.stat(path)))
    command(bench, instance, "postsuper", "-d", "ALL")
    return copies


def fill(instance, copies, count, due=False):
    """Puts `count` messages into `deferred`; they are tried as the original would be, or at once when they are `due`."""
    (message, like), (log, log_like) = copies
    temporary = os.path.join(instance.spool, "new")
    when = (time.time_ns() - 10**10,) * 2 if due else (like.st_mtime_ns,) * 2
    for queue in ("deferred", "defer"):
        for digit in "0123456789ABCDEF":
            path = os.path.join(instance.spool, queue, digit)
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                os.chown(path, like.st_uid, like.st_gid)
    for number in range(count):
        inode = make(temporary, message, like, when)
        # As the systems name them: microseconds and inode, in directories by the first digit.
        queue_id = f"{number * 7919 % 1_000_000:05X}{inode:X}"
        os.rename(temporary, os.path.join(instance.spool, "deferred", queue_id[0], queue_id))
        make(temporary, log, log_like, when)
        os.rename(temporary, os.path.join(instance.spool, "defer", queue_id[0], queue_id))
    os.sync()


def make(path, content, like, when):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, like.st_mode & 0o777)
    os.write(file, content)
    os.fchown(file, like.st_uid, like.st_gid)
    os.fchmod(file, like.st_mode & 0o777)
    os.utime(file, ns=when)
    inode = os.fstat(file).st_ino
    os.close(file)
    return inode


def command(bench, instance, name, *arguments):
    """Runs a tool of the suite. What it wrote, what it cost the suite and itself, and its peak of memory in MB."""
    bench.quiet()
    with Window(instance.group, bench.generator.group) as window:
        process = bench.generator.spawn(
            instance.command(name, *arguments), env=instance.suite.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{instance.suite.name}: {name}: {output[-500:]}\n{instance.log_end()}")
    return output, window, usage.ru_maxrss / 1024


def cost(window):
    return {"cpu": window.suite + window.load, "seconds": window.seconds}


def peak_of(instance, program):
    """Most memory that the processes of a program have had, in MB together."""
    total = 0
    for process in instance.group.processes():
        try:
            if read(f"/proc/{process}", "comm").strip() == program:
                total += int(re.search(r"^VmHWM:\s+(\d+)", read(f"/proc/{process}", "status"), re.M)[1])
        except OSError:
            pass
    return total / 1024


class CountingSink:
    """smtp-sink, and how many messages it has: it keeps saying so, here into a file."""

    def __init__(self, bench):
        self.port = free_port()
        self.path = bench.file(f"sink-{self.port}", "")
        with open(self.path, "w") as output:
            bench.generator.sink(self.port, "-c", stdout=output)

    @property
    def messages(self):
        with open(self.path, "rb") as file:
            file.seek(-min(os.path.getsize(self.path), 200), os.SEEK_END)
            counts = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(counts[-1]) if counts else 0

    def wait_for_first(self, seconds=120):
        """The time of the first message."""
        end = time.monotonic() + seconds
        while not self.messages:
            if time.monotonic() > end:
                raise RuntimeError("nothing is delivered")
            time.sleep(0.002)
        return time.monotonic()

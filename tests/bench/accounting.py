"""What processes cost: CPU time, memory, context switches and system calls of groups of processes.

A group is a control group where the machine lets us make one (exact to the nanosecond, and what has ended still counts),
and otherwise the tree of processes below one of them (ticks of 10 ms).
"""

import ctypes
import glob
import os
import platform
import re
import struct
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
CPUS = len(os.sched_getaffinity(0))
# Hierarchies that count CPU time, and how: version 1 has files of its own for it, version 2 has cpu.stat.
HIERARCHIES = (
    ("/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
    ("/sys/fs/cgroup/cpu,cpuacct", "cpuacct.usage"),
    ("/sys/fs/cgroup", "cpu.stat"),
)
# Hierarchies whose groups perf_event_open(2) takes.
EVENT_HIERARCHIES = ("/sys/fs/cgroup/perf_event", "/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class Group:
    """Processes that are counted together. The first one enters by itself, its children are born inside."""

    def __init__(self, name):
        self.root = None
        self.counter = None
        self.directory = self.events = None
        for base, counter in HIERARCHIES:
            directory = os.path.join(base, name)
            if self._make(directory, counter):
                self.directory, self.counter = directory, counter
                break
        for base in EVENT_HIERARCHIES:
            directory = os.path.join(base, name)
            if os.path.exists(os.path.join(base, "cgroup.procs")) and self._make(directory, "cgroup.procs"):
                self.events = directory
                break

    @staticmethod
    def _make(directory, wanted):
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError:
            return False
        if all(os.path.exists(os.path.join(directory, file)) for file in (wanted, "cgroup.procs")):
            return True
        try:
            os.rmdir(directory)
        except OSError:
            pass
        return False

    def enter(self):
        """Puts the calling process in; between fork and exec."""
        for directory in {self.directory, self.events} - {None}:
            with open(os.path.join(directory, "cgroup.procs"), "w") as file:
                file.write("0")

    def remove(self):
        """Forgets the group, which must be empty."""
        for directory in {self.directory, self.events} - {None}:
            try:
                os.rmdir(directory)
            except OSError:
                pass

    def processes(self):
        """Ids of the processes in it."""
        if self.directory:
            with open(os.path.join(self.directory, "cgroup.procs")) as file:
                return sorted({int(line) for line in file})
        return tree(self.root) if self.root else []

    def cpu(self):
        """Seconds of CPU so far: all, and those in the kernel."""
        if self.counter == "cpuacct.usage":
            return tuple(int(read(self.directory, file)) / 1e9 for file in ("cpuacct.usage", "cpuacct.usage_sys"))
        if self.counter == "cpu.stat":
            stat = dict(line.split() for line in read(self.directory, "cpu.stat").splitlines())
            return int(stat["usage_usec"]) / 1e6, int(stat["system_usec"]) / 1e6
        user = kernel = 0
        for process in self.processes():
            fields = stat_of(process)
            if fields:
                user += int(fields[11]) + int(fields[13])
                kernel += int(fields[12]) + int(fields[14])
        return (user + kernel) / TICK, kernel / TICK

    def memory(self):
        """PSS of all processes together, in KB, and how many there are."""
        total = count = 0
        for process in self.processes():
            try:
                match = re.search(r"^Pss:\s+(\d+) kB", read(f"/proc/{process}", "smaps_rollup"), re.M)
            except OSError:
                continue
            if match:
                total += int(match[1])
                count += 1
        return total, count


def read(directory, file):
    with open(os.path.join(directory, file)) as opened:
        return opened.read()


def stat_of(process):
    """/proc/ID/stat after the name; empty for a process that has ended."""
    try:
        return read(f"/proc/{process}", "stat").rsplit(")", 1)[1].split()
    except OSError:
        return []


def tree(root):
    """A process and all below it."""
    children = {}
    for name in os.listdir("/proc"):
        fields = stat_of(name) if name.isdigit() else []
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, rest = [], [root]
    while rest:
        process = rest.pop()
        found.append(process)
        rest += children.get(process, [])
    return found


def machine():
    """What the whole machine did so far: seconds of CPU and of waiting for disks, context switches, disk flushes."""
    now = {}
    with open("/proc/stat") as file:
        for line in file:
            fields = line.split()
            if fields[0] == "cpu":
                user, nice, kernel, _, wait, interrupt, soft = (int(field) / TICK for field in fields[1:8])
                now["busy"], now["wait"] = user + nice + kernel + interrupt + soft, wait
            elif fields[0] == "ctxt":
                now["switches"] = int(fields[1])
    # The sixteenth number counts requests to flush the cache of a disk.
    disks = (read(os.path.dirname(path), "stat").split() for path in glob.glob("/sys/block/*/stat"))
    now["flushes"] = sum(int(fields[15]) for fields in disks if len(fields) > 15)
    return now


class Window:
    """What happens between two points in time. `with Window(suite, load) as window: ...`"""

    def __init__(self, suite, load):
        self.suite_group, self.load_group = suite, load

    def __enter__(self):
        self.before = (machine(), self.suite_group.cpu(), self.load_group.cpu())
        self.begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begin
        was, suite, load = self.before
        now, suite_now, load_now = machine(), self.suite_group.cpu(), self.load_group.cpu()
        self.suite, self.suite_kernel = suite_now[0] - suite[0], suite_now[1] - suite[1]
        self.load = load_now[0] - load[0]
        self.switches = now["switches"] - was["switches"]
        self.flushes = now["flushes"] - was["flushes"]
        self.wait = now["wait"] - was["wait"]
        # Kernel threads, this program, and whoever else uses the machine.
        self.rest = max(0.0, now["busy"] - was["busy"] - self.suite - self.load)

    def shares(self):
        """Who used how much of all CPUs, in percent."""
        whole = max(self.seconds, 1e-6) * CPUS / 100
        return {"suite": self.suite / whole, "load": self.load / whole, "rest": self.rest / whole,
                "disk": self.wait / whole}


class Counters:
    """Context switches and system calls of a group, counted by the kernel. Counting costs time, so it has runs of its
    own. A count is `None` where the kernel does not let us."""

    SOFTWARE, TRACEPOINT, CONTEXT_SWITCHES = 1, 2, 3
    SYSTEM_CALL = {"x86_64": 298, "aarch64": 241}

    def __init__(self, group):
        self.group = group
        self.switches = self.calls = None

    def __enter__(self):
        tracepoint = syscall_tracepoint()
        self.files = {
            "switches": self._open(self.SOFTWARE, self.CONTEXT_SWITCHES),
            "calls": self._open(self.TRACEPOINT, tracepoint) if tracepoint else [],
        }
        return self

    def __exit__(self, *_):
        for name, files in self.files.items():
            counts = [struct.unpack("Q", os.read(file, 8))[0] for file in files]
            setattr(self, name, sum(counts) if counts else None)
            for file in files:
                os.close(file)

    def _open(self, kind, config):
        number = self.SYSTEM_CALL.get(platform.machine())
        if not self.group.events or not number:
            return []
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        # struct perf_event_attr in its first published size.
        attributes = struct.pack("IIQQQQQIIQ", kind, 64, config, 0, 0, 0, 0, 0, 0, 0)
        group_flag, close_on_exec = 4, 8
        directory = os.open(self.group.events, os.O_RDONLY)
        files = []
        for cpu in sorted(os.sched_getaffinity(0)):
            file = syscall(number, attributes, directory, cpu, -1, group_flag | close_on_exec)
            if file >= 0:
                files.append(file)
        os.close(directory)
        return files


def syscall_tracepoint():
    """The number of the tracepoint that every system call passes; `None` when tracefs cannot be read."""
    script = ('f=events/raw_syscalls/sys_enter/id; cat /sys/kernel/tracing/$f 2>/dev/null ||'
              ' { mount -t tracefs none /sys/kernel/tracing && cat /sys/kernel/tracing/$f; }')
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def wait_for_quiet(groups, limit, share=15):
    """Waits for a second in which nobody else uses more than `share` percent of one CPU, `limit` seconds at most."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before, own = machine()["busy"], sum(group.cpu()[0] for group in groups)
        time.sleep(1)
        others = machine()["busy"] - before - (sum(group.cpu()[0] for group in groups) - own)
        if others * 100 < share:
            return

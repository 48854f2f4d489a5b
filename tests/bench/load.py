"""Those who send and take mail: the reference's smtp-source and smtp-sink, a client, and free ports."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SENDER, RECIPIENT = "sender@source.example", "user@destination.example"
BODY = (f"From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: x\r\n\r\n" + ("x" * 78 + "\r\n") * 51 + ".\r\n").encode()

_taken = []


def free_port(address="127.0.0.1"):
    """A TCP port below the ephemeral range that no other test on this machine gets while this process lives: the same
    locks as those of the tests (tests/src/ports.rs)."""
    directory = os.path.join(tempfile.gettempdir(), f"posthouse-ports-{os.geteuid()}")
    os.makedirs(directory, exist_ok=True)
    for offset in range(22_000):
        port = 10_000 + (os.getpid() + offset) % 22_000
        lock = open(os.path.join(directory, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.create_server((address, port)):
                pass
        except OSError:
            lock.close()
            continue
        _taken.append(lock)
        return port
    raise RuntimeError("no free port")


def wait_for_port(port, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def end(process):
    """Ends a process that we started."""
    if process and process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Generator:
    """smtp-source and smtp-sink of the reference."""

    def __init__(self, reference, group):
        self.directory, self.environment = reference.commands, reference.environment()
        self.group = group
        self.processes = []

    def spawn(self, arguments, **options):
        process = subprocess.Popen(arguments, preexec_fn=self.group.enter, **options)
        self.processes.append(process)
        return process

    def source(self, port, count, sessions, size=4096, recipient=RECIPIENT, recipients=1, reuse=False,
               counted=True):
        """Starts `count` messages, `sessions` at a time; `counted` ones have a number before the recipient's name."""
        command = [os.path.join(self.directory, "smtp-source"), "-C", "50", "-s", str(sessions), "-m", str(count),
                   "-l", str(size), "-f", SENDER, "-t", recipient, "-M", "client.example"]
        command += ["-r", str(recipients)] if recipients > 1 else ["-N"] * counted
        command += ["-d"] * reuse
        return self.spawn(command + [f"127.0.0.1:{port}"], env=self.environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def inject(self, *arguments, timeout=900, **options):
        """Sends messages, and waits until all are accepted."""
        wait_for_source(self.source(*arguments, **options), timeout)

    def sink(self, port, *options, stdout=subprocess.DEVNULL):
        """A fast next hop."""
        command = [os.path.join(self.directory, "smtp-sink"), *options, "-u", "nobody", "-m", "1200",
                   f"127.0.0.1:{port}", "1024"]
        process = self.spawn(command, env=self.environment, stdout=stdout, stderr=subprocess.DEVNULL)
        wait_for_port(port)
        return process

    def timed_sink(self, *arguments):
        """A next hop that answers late and notes when what came."""
        process = self.spawn([sys.executable, os.path.join(HERE, "sink.py"), *arguments],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the sink does not start")
        return process

    def stop(self):
        for process in self.processes:
            end(process)
        self.processes.clear()


def wait_for_source(process, timeout=900):
    output, _ = process.communicate(timeout=timeout)
    if process.returncode:
        raise RuntimeError(f"smtp-source: {output[-500:]}")


class Client:
    """A blocking SMTP client."""

    def __init__(self, port, timeout=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.reply(220)

    def reply(self, wanted):
        """Reads a reply, of one or more lines."""
        while True:
            line, separator, rest = self.buffer.partition(b"\r\n")
            if separator:
                self.buffer = rest
                if line[3:4] == b"-":
                    continue
                if line[:3] != b"%d" % wanted:
                    raise RuntimeError(f"not {wanted}: {line!r}")
                return
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the server hung up")
            self.buffer += data

    def command(self, line, wanted=250):
        self.socket.sendall(line.encode() + b"\r\n")
        self.reply(wanted)

    def close(self):
        self.socket.close()

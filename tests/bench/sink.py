#!/usr/bin/env python3
"""A next hop that answers late, at many addresses, and notes when what came.

    sink.py --port PORT [--addresses N] [--delay SECONDS] [--stamps]

Listens on one port of 127.1.0.1 and the N-1 addresses after it. Each answer, the greeting included, leaves DELAY seconds
after what it answers: pipelined commands cost one round trip, as on a long path. Says "ready"; when standard input
closes, it prints a JSON object and ends: how many messages, the most connections at a time, the times of the first and
the last message and, with --stamps, the time at which the message with each "X-Key:" was complete (CLOCK_MONOTONIC).
"""

import argparse
import heapq
import json
import resource
import select
import socket
import sys
import time


def address(number):
    """The loopback address with this number."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Sink:
    def __init__(self, options):
        self.delay, self.stamps = options.delay, {} if options.stamps else None
        self.messages = self.connections = self.peak = self.sequence = 0
        self.first = self.last = 0.0
        self.late = []
        self.sessions, self.listeners = {}, {}
        self.poll = select.epoll()
        for number in range(options.addresses):
            listener = socket.create_server((address(number), options.port), backlog=256)
            listener.setblocking(False)
            self.listeners[listener.fileno()] = listener
            self.poll.register(listener, select.EPOLLIN)
        self.poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)

    def run(self):
        while True:
            wait = -1 if not self.late else max(0.0, self.late[0][0] - time.monotonic())
            for number, _ in self.poll.poll(wait):
                if number in self.listeners:
                    self.accept(self.listeners[number])
                elif number in self.sessions:
                    self.read(self.sessions[number])
                else:
                    return
            now = time.monotonic()
            while self.late and self.late[0][0] <= now:
                _, _, session, text, closing = heapq.heappop(self.late)
                self.send(session, text, closing)

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(connection)
            self.sessions[connection.fileno()] = session
            self.connections += 1
            self.peak = max(self.peak, len(self.sessions))
            self.poll.register(connection, select.EPOLLIN)
            self.answer(session, b"220 sink ESMTP\r\n", False)

    def read(self, session):
        try:
            data = session.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(session)
            return
        session.buffer += data
        answers, closing = [], False
        while not closing:
            if session.in_data:
                message, separator, rest = session.buffer.partition(b"\r\n.\r\n")
                if not separator:
                    break
                session.buffer, session.in_data = rest, False
                self.complete(message)
                answers.append(b"250 2.0.0 Ok\r\n")
                continue
            line, separator, rest = session.buffer.partition(b"\r\n")
            if not separator:
                break
            verb, session.buffer = line[:4].upper(), rest
            if verb in (b"EHLO", b"LHLO"):
                answers.append(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n")
            elif verb == b"DATA":
                # The partition above finds the end of an empty message too.
                session.in_data, session.buffer = True, b"\r\n" + session.buffer
                answers.append(b"354 Go\r\n")
            elif verb == b"QUIT":
                answers.append(b"221 2.0.0 Bye\r\n")
                closing = True
            else:
                answers.append(b"250 2.0.0 Ok\r\n")
        if answers:
            self.answer(session, b"".join(answers), closing)

    def complete(self, message):
        now = time.monotonic()
        self.messages += 1
        self.first, self.last = self.first or now, now
        if self.stamps is not None:
            key = message.partition(b"X-Key: ")[2].partition(b"\r\n")[0]
            self.stamps[key.decode()] = now

    def answer(self, session, text, closing):
        if self.delay:
            self.sequence += 1
            heapq.heappush(self.late, (time.monotonic() + self.delay, self.sequence, session, text, closing))
        else:
            self.send(session, text, closing)

    def send(self, session, text, closing):
        if session.open:
            try:
                session.connection.send(text)
            except OSError:
                closing = True
            if closing:
                self.close(session)

    def close(self, session):
        if session.open:
            session.open = False
            del self.sessions[session.connection.fileno()]
            session.connection.close()

    def report(self):
        return {"messages": self.messages, "connections": self.connections, "peak": self.peak,
                "first": self.first, "last": self.last, "stamps": self.stamps}


class Session:
    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""
        self.in_data = False
        self.open = True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--addresses", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--stamps", action="store_true")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sink = Sink(parser.parse_args())
    print("ready", flush=True)
    sink.run()
    print(json.dumps(sink.report()), flush=True)


if __name__ == "__main__":
    main()

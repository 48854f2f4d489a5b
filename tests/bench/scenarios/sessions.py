"""Sessions: many that are idle, many that are slow, one after the other."""

import json
import resource
import time

from accounting import Window
from load import BODY, RECIPIENT, SENDER, Client, free_port
from sink import address


def idle(bench):
    count = bench.size(1000, 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    # The reference needs a process for each.
    instances = bench.fresh({"default_process_limit": str(count + 100), "smtpd_timeout": "600s"})
    for instance in bench.turns(instances, rounds=bench.size(2, 1)):
        instance.stop()
        instance.start()
        Client(instance.port).close()
        time.sleep(0.5)
        before, _ = instance.group.memory()
        clients = []
        with Window(instance.group, bench.generator.group) as window:
            for _ in range(count):
                client = Client(instance.port)
                client.command("EHLO client.example")
                clients.append(client)
        time.sleep(0.5)
        after, processes = instance.group.memory()
        begin = time.monotonic()
        for client in clients:
            client.command("NOOP")
        answer = time.monotonic() - begin
        for client in clients:
            client.close()
        bench.note("idle", instance, {
            "memory": (after - before) / count, "processes": processes, "cpu": window.suite * 1e3 / count,
            "answer": answer * 1e6 / count})
        instance.stop()


def slow(bench):
    destinations, messages = bench.size(1000, 60), bench.size(4000, 120)
    sink = free_port(address(0))
    # smtp-source counts its recipients up: 1user@..., 2user@...
    transport = bench.file("transport", "".join(
        f"{number + 1}{RECIPIENT} smtp:[{address(number % destinations)}]:{sink}\n" for number in range(messages)))
    instances = bench.fresh({"transport_maps": f"texthash:{transport}", "in_flow_delay": "0"})
    for instance in bench.turns(instances, rounds=bench.size(2, 1)):
        process = bench.generator.timed_sink(
            "--port", str(sink), "--addresses", str(destinations), "--delay", "0.2")
        bench.quiet()
        with Window(instance.group, bench.generator.group) as window:
            bench.generator.inject(instance.port, messages, 20, reuse=True)
            memory = processes = 0
            while instance.count("incoming", "active"):
                memory, processes = max((memory, processes), instance.group.memory())
                time.sleep(0.5)
        instance.wait_until_empty()
        output, _ = process.communicate("")
        seen = json.loads(output)
        if seen["messages"] != messages:
            raise RuntimeError(f"{instance.suite.name}: {seen['messages']} of {messages}\n{instance.log_end()}")
        bench.note("slow", instance, {
            "rate": messages / (seen["last"] - seen["first"]), "memory": memory / 1024, "processes": processes,
            "peak": seen["peak"], "cpu": window.suite * 1e3 / messages,
        } | {f"share_{name}": share for name, share in window.shares().items()})


def latency(bench):
    count, sink = bench.size(300, 30), free_port("127.1.0.1")
    instances = bench.fresh({"relayhost": f"[127.1.0.1]:{sink}"})
    process = bench.generator.timed_sink("--port", str(sink), "--stamps")
    accepted = {}
    for number in range(-20, count):
        for instance in instances:
            accepted[instance, number] = one_message(instance, f"{instance.suite.name}:{number}")
        time.sleep(0.02)
    for instance in instances:
        instance.wait_until_empty()
    output, _ = process.communicate("")
    stamps = json.loads(output)["stamps"]
    for instance in instances:
        for number in range(count):
            data, reply = accepted[instance, number]
            bench.note("latency", instance, {
                "to_reply": (reply - data) * 1e3,
                "to_next_hop": (stamps[f"{instance.suite.name}:{number}"] - reply) * 1e3})


def one_message(instance, key):
    """Sends one message; the times when its content left and when the reply came."""
    client = Client(instance.port)
    client.command("EHLO client.example")
    client.command(f"MAIL FROM:<{SENDER}>")
    client.command(f"RCPT TO:<{RECIPIENT}>")
    client.command("DATA", 354)
    data = time.monotonic()
    client.socket.sendall(b"X-Key: " + key.encode() + b"\r\n" + BODY)
    client.reply(250)
    reply = time.monotonic()
    client.command("QUIT", 221)
    client.close()
    return data, reply

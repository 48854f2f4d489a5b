"""Mail that goes through, or into a mailbox."""

import os
import pwd

from accounting import Counters, Window
from load import free_port, wait_for_source
from suites import MAILBOX_USER

ACCEPTED = {"in_flow_delay": "0"}


def figures(window, count):
    """What a message of a window cost, in the units of the table."""
    return {
        "cpu": window.suite * 1e3 / count,
        "kernel": 100 * window.suite_kernel / window.suite if window.suite else 0,
        "rate": count / window.seconds,
        "machine_switches": window.switches / count,
        "flushes": window.flushes / count,
    } | {f"share_{name}": share for name, share in window.shares().items()}


def measure(bench, scenario, instance, count, send, done=None):
    """One timed run: `send` starts the mail, `done` waits for its end."""
    bench.quiet()
    with Window(instance.group, bench.generator.group) as window:
        send()
        (done or instance.wait_until_empty)()
    bench.note(scenario, instance, figures(window, count))


def count_calls(bench, scenario, instance, count, send, done=None):
    """One run for what is too dear to count in the timed ones."""
    with Counters(instance.group) as counters:
        send()
        (done or instance.wait_until_empty)()
    per_message = lambda number: None if number is None else number / count
    bench.note(scenario, instance, {"switches": per_message(counters.switches), "calls": per_message(counters.calls)})


def relay(bench):
    sink = free_port()
    bench.generator.sink(sink)
    count = bench.size(5000, 300)
    instances = bench.fresh({"relayhost": f"[127.0.0.1]:{sink}"})
    send = lambda instance, number: bench.generator.inject(instance.port, number, 20)
    for instance in instances:
        send(instance, bench.size(1000, 100))
        instance.wait_until_empty()
    for instance in bench.turns(instances):
        measure(bench, "relay", instance, count, lambda: send(instance, count))
    for instance in instances:
        count_calls(bench, "relay", instance, count, lambda: send(instance, count))


def recipients(bench):
    sink = free_port()
    bench.generator.sink(sink)
    count, many = bench.size(600, 40), 50
    instances = bench.fresh({"relayhost": f"[127.0.0.1]:{sink}"})

    def send(instance, number):
        bench.generator.inject(instance.port, count, 20, recipients=number)
        instance.wait_until_empty()

    for instance in instances:
        send(instance, 1)
        send(instance, many)
    for instance in bench.turns(instances):
        bench.quiet()
        windows = []
        for number in (1, many):
            with Window(instance.group, bench.generator.group) as window:
                send(instance, number)
            windows.append(window)
        one, all_of_them = windows
        further = count * (many - 1)
        bench.note("recipients", instance, {
            "cpu": (all_of_them.suite - one.suite) * 1e6 / further,
            "machine_switches": (all_of_them.switches - one.switches) / further,
            "rate": count * many / all_of_them.seconds,
        } | {f"share_{name}": share for name, share in all_of_them.shares().items()})


def accept(bench):
    count = bench.size(4000, 250)
    send = lambda instance, number: bench.generator.inject(instance.port, number, 20)
    instances = bench.fresh(ACCEPTED | {"default_transport": "discard:"})
    for instance in instances:
        send(instance, bench.size(500, 60))
        instance.wait_until_empty()
    for instance in bench.turns(instances):
        measure(bench, "discard", instance, count, lambda: send(instance, count))
    instances = bench.fresh(
        ACCEPTED | {"smtpd_recipient_restrictions": "check_client_access static:HOLD,permit_mynetworks,reject"})
    held = {}
    for instance in instances:
        held[instance] = bench.size(500, 60)
        send(instance, held[instance])
    for instance in bench.turns(instances):
        measure(bench, "hold", instance, count, lambda: send(instance, count), lambda: None)
        held[instance] += count
        expect(instance, instance.count("hold"), held[instance])


def maildir(bench):
    user = pwd.getpwnam(MAILBOX_USER)
    count, boxes = bench.size(3000, 200), [f"user{number}" for number in range(10)]
    instances = bench.fresh({
        "default_transport": "discard:", "virtual_mailbox_domains": "virtual.example",
        "virtual_mailbox_maps": "inline:{%s}" % ", ".join(f"{box}@virtual.example={box}/" for box in boxes),
        "virtual_uid_maps": f"static:{user.pw_uid}", "virtual_gid_maps": f"static:{user.pw_gid}",
        "virtual_mailbox_limit": "0"})

    def send(instance, number):
        sources = [bench.generator.source(instance.port, number // len(boxes), 2, counted=False,
                                          recipient=f"{box}@virtual.example") for box in boxes]
        for source in sources:
            wait_for_source(source)

    delivered = lambda instance: sum(
        len(files) for path, _, files in os.walk(instance.path("mail")) if path.endswith("/new"))
    for instance in instances:
        send(instance, bench.size(500, 60))
        instance.wait_until_empty()
    for instance in bench.turns(instances):
        before = delivered(instance)
        measure(bench, "maildir", instance, count, lambda: send(instance, count))
        expect(instance, delivered(instance) - before, count)


def mbox(bench):
    count = bench.size(1500, 100)
    instances = bench.fresh({"mydestination": "local.example", "mailbox_size_limit": "0"})
    recipient = f"{MAILBOX_USER}@local.example"
    send = lambda instance, number: bench.generator.inject(
        instance.port, number, 20, recipient=recipient, counted=False)
    for instance in instances:
        send(instance, bench.size(200, 40))
        instance.wait_until_empty()
    for instance in bench.turns(instances):
        box = os.path.join(instance.path("mail"), MAILBOX_USER)
        os.unlink(box)
        measure(bench, "mbox", instance, count, lambda: send(instance, count))
        with open(box, "rb") as file:
            expect(instance, sum(line.startswith(b"From ") for line in file), count)


def expect(instance, got, wanted):
    if got != wanted:
        raise RuntimeError(f"{instance.suite.name}: {got} messages instead of {wanted}\n{instance.log_end()}")


"""What is measured. Each scenario sets both instances up, warms them up, and lets them take turns."""

from . import backlog, lookups, sessions, through

# Name on the command line, function, and what it does, in the order of the table.
ALL = {
    "relay": (through.relay, "a session per message, 4 KB, 20 at a time, to a fast next hop"),
    "recipients": (through.recipients, "50 recipients per message against one"),
    "accept": (through.accept, "accepted and thrown away; accepted on hold"),
    "maildir": (through.maildir, "4 KB to ten Maildirs by virtual"),
    "mbox": (through.mbox, "4 KB to one mailbox file by local"),
    "idle": (sessions.idle, "memory of open sessions that say nothing"),
    "slow": (sessions.slow, "destinations that take 200 ms for each reply"),
    "latency": (sessions.latency, "one message at a time"),
    "queue": (backlog.queue, "listing and deleting a long queue"),
    "start": (backlog.start, "a start with a long queue"),
    "tables": (lookups.tables, "lookups in big cidr, pcre and lmdb tables"),
}

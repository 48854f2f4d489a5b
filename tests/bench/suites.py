"""The two mail systems that are compared, and instances of them in a scratch directory."""

import os
import pwd
import grp
import shutil
import signal
import subprocess
import time

from accounting import Group
from load import free_port, wait_for_port

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
MAILBOX_USER = "posthouse-test"
QUEUES = ("maildrop", "incoming", "active", "deferred")


class Suite:
    """Programs of one mail system."""

    def __init__(self, name, commands, daemons, libraries=None):
        self.name, self.commands, self.daemons, self.libraries = name, commands, daemons, libraries

    def environment(self):
        keep = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return keep | {"TZ": "UTC", "LC_ALL": "C"} | ({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})

    def settings(self, meta):
        """main.cf lines that say where the programs are."""
        lines = {
            "compatibility_level": "3.6" if self.libraries else "3.12",
            "command_directory": self.commands,
            "daemon_directory": self.daemons,
        }
        if self.libraries:
            lines["shlib_directory"] = self.libraries
            lines["meta_directory"] = meta
            lines["import_environment"] = "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH"
        return lines


def reference():
    """Postfix as .ci/run unpacks it from Debian's packages. It is not installed: its libraries are found through the
    environment, its table plug-ins through a file of our own."""
    root = os.environ.get("POSTFIX_ROOT", "/opt/posthouse-reference")
    if not os.path.exists(os.path.join(root, "usr/lib/postfix/sbin/master")):
        raise SystemExit(f"no reference Postfix in {root}: `.ci/run reference` unpacks it")
    return Suite("postfix", os.path.join(root, "usr/sbin"), os.path.join(root, "usr/lib/postfix/sbin"),
                 os.path.join(root, "usr/lib/postfix"))


def ours(scratch, programs):
    """Ours, from `programs` or built now; copied, so that another build does not change a running measurement."""
    if not programs:
        cargo = os.environ.get("CARGO", "cargo")
        subprocess.run([cargo, "build", "--release", "--locked", "--quiet", "--workspace", "--bins"],
                       cwd=PROJECT, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        programs = os.path.join(PROJECT, target, "release")
    directory = os.path.join(scratch, "programs")
    os.mkdir(directory)
    for name in os.listdir(programs):
        path = os.path.join(programs, name)
        if "." not in name and os.path.isfile(path) and os.access(path, os.X_OK):
            shutil.copy(path, directory)
    return Suite("posthouse", directory, directory)


# The directories of a spool and their modes.
SPOOL = {"active": 0o700, "bounce": 0o700, "corrupt": 0o700, "defer": 0o700, "deferred": 0o700, "flush": 0o700,
         "hold": 0o700, "incoming": 0o700, "maildrop": 0o730, "pid": 0o755, "private": 0o700, "public": 0o710,
         "saved": 0o700, "trace": 0o700}
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MAIN = {
    "mail_owner": "postfix", "setgid_group": "postdrop",
    "myhostname": "mail.example.com", "mydomain": "example.com", "myorigin": "example.com", "mydestination": "",
    "mynetworks": "127.0.0.0/8", "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4",
    "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "default_database_type": "texthash",
    "smtpd_relay_restrictions": "permit_mynetworks,reject", "notify_classes": "",
}


class Instance:
    """Configuration, spool, data and log of one mail system, below `scratch`."""

    def __init__(self, suite, scratch, tag):
        self.suite, self.port = suite, free_port()
        self.directory = os.path.join(scratch, suite.name)
        self.group = Group(f"posthouse-bench-{tag}-{suite.name}")
        self.spool, self.etc = self.path("spool"), self.path("etc")
        self.running = None
        for name in ("etc", "data", "log", "meta"):
            os.makedirs(self.path(name))
        shutil.chown(self.path("data"), "postfix")
        with open(self.path("meta/dynamicmaps.cf"), "w") as file:
            file.write("lmdb postfix-lmdb.so dict_lmdb_open mkmap_lmdb_open\npcre postfix-pcre.so dict_pcre_open\n")

    def path(self, name):
        return os.path.join(self.directory, name)

    def configure(self, settings):
        """Writes the configuration: the common settings and these."""
        lines = MAIN | self.suite.settings(self.path("meta")) | {
            "queue_directory": self.spool, "data_directory": self.path("data"),
            "maillog_file": self.path("log/maillog"), "maillog_file_prefixes": self.path("log"),
            "virtual_mailbox_base": self.path("mail"), "mail_spool_directory": self.path("mail")} | settings
        with open(os.path.join(self.etc, "main.cf"), "w") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())
        with open(os.path.join(self.etc, "master.cf"), "w") as file:
            file.write(SERVICES.format(port=self.port))

    def fresh(self, settings):
        """Stops, empties spool and mailboxes, and starts with these settings."""
        self.stop()
        self.configure(settings)
        for directory in (self.spool, self.path("mail")):
            shutil.rmtree(directory, ignore_errors=True)
            os.mkdir(directory)
        shutil.chown(self.path("mail"), MAILBOX_USER)
        owner, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        for name, mode in SPOOL.items():
            path = os.path.join(self.spool, name)
            os.mkdir(path)
            if name != "pid":
                os.chown(path, owner, group if name in ("maildrop", "public") else -1)
            os.chmod(path, mode)
        self.start()

    def start(self, wait=True):
        done = subprocess.run([os.path.join(self.suite.daemons, "master"), "-w", "-c", self.etc],
                              env=self.suite.environment() | {"MAIL_CONFIG": self.etc}, preexec_fn=self.group.enter,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{self.suite.name} does not start: {done.stderr}\n{self.log_end()}")
        with open(os.path.join(self.spool, "pid/master.pid")) as file:
            self.running = self.group.root = int(file.read())
        if wait:
            wait_for_port(self.port)

    def stop(self):
        """Stops it and waits until none of its processes is left; what does not go by itself is killed."""
        if not self.running:
            return
        left = self.group.processes()
        kill(self.running, signal.SIGTERM)
        end, killed = time.monotonic() + 10, False
        while left := [process for process in left if alive(process)]:
            if time.monotonic() > end and not killed:
                killed = True
                for process in left:
                    kill(process, signal.SIGKILL)
            time.sleep(0.02)
            if self.group.directory:
                left = self.group.processes()
        self.running = None

    def log_end(self):
        try:
            with open(self.path("log/maillog")) as file:
                return "".join(file.readlines()[-20:])
        except OSError:
            return ""

    def command(self, name, *arguments):
        """The command line of one of the suite's tools, for this instance."""
        return [os.path.join(self.suite.commands, name), "-c", self.etc, *arguments]

    def wait_until_empty(self, queues=QUEUES, timeout=600):
        """Waits until no file is left in `queues`, seen twice: a message changes its queue while we look."""
        end, seen = time.monotonic() + timeout, 0
        while seen < 2:
            seen = 0 if any(has_file(os.path.join(self.spool, queue)) for queue in queues) else seen + 1
            if time.monotonic() > end:
                raise RuntimeError(f"{self.suite.name}: the queue does not become empty\n{self.log_end()}")
            time.sleep(0.005)

    def count(self, *queues):
        """Files in these queues."""
        return sum(len(files) for queue in queues for _, _, files in os.walk(os.path.join(self.spool, queue)))


def kill(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


def alive(process):
    """True for a process that is no zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def has_file(directory):
    try:
        with os.scandir(directory) as entries:
            return any(has_file(entry.path) if entry.is_dir(follow_symlinks=False) else True for entry in entries)
    except FileNotFoundError:
        return False

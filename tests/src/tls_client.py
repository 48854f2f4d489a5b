"""An SMTP client under TLS, told what to do line by line.

Arguments are name=value: port, wrapper, starttls (what is sent to begin), certificate, key, sni, maximum (TLS version). The first
line of output says how the handshake went; then each line of input is sent, with CRLF, and the reply comes as one line.
"""
import hashlib
import socket
import ssl
import sys

given = dict(argument.split("=", 1) for argument in sys.argv[1:])
connection = socket.create_connection(("127.0.0.1", int(given["port"])), timeout=60)
received = b""


def reply():
    global received
    lines = []
    while True:
        while b"\n" not in received:
            try:
                more = connection.recv(65536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return "|".join(lines + ["closed"])
            received += more
        line, received = received.split(b"\n", 1)
        lines.append(line.decode("utf-8", "replace").rstrip("\r"))
        if lines[-1][3:4] != "-":
            return "|".join(lines)


def say(text):
    print(text, flush=True)


context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if "certificate" in given:
    context.load_cert_chain(given["certificate"], given["key"])
if "maximum" in given:
    context.maximum_version = getattr(ssl.TLSVersion, given["maximum"])
if given.get("wrapper") != "yes":
    reply()
    connection.sendall(b"EHLO client.example\r\n")
    reply()
    connection.sendall(given.get("starttls", "STARTTLS\\r\\n").encode().decode("unicode_escape").encode())
    answer = reply()
    if not answer.startswith("220"):
        say(answer)
        sys.exit()
try:
    connection = context.wrap_socket(connection, server_hostname=given.get("sni"))
except (OSError, ssl.SSLError) as error:
    say("failed: %s" % error)
    sys.exit()
digest = hashlib.sha256(connection.getpeercert(True)).hexdigest()
say("%s %s %s" % (connection.version(), connection.cipher()[0], digest))
if given.get("wrapper") == "yes":
    say(reply())
for line in sys.stdin:
    try:
        connection.sendall(line.rstrip("\n").encode().decode("unicode_escape").encode("latin-1") + b"\r\n")
    except (ConnectionError, ssl.SSLError):
        say("closed")
        continue
    say(reply())

"""A mail server (aiosmtpd) that keeps what it is sent.

smtp_sink.py MODE [CERTIFICATE KEY]: MODE is clear-text, starttls or wrapper. It prints a JSON line when it
listens ({"port": N}) and one for each message that it has taken. A line on its standard input is a number:
so many messages are answered "451 busy" before the next one is taken.
"""

import email
import email.policy
import json
import socket
import ssl
import sys
import threading

from aiosmtpd.controller import Controller


def taken_apart(content):
    """Headers, and the leaves of the message, each with its media type and text."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    return {
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "parts": [
            {
                "type": part.get_content_type(),
                "method": part.get_param("method"),
                "text": part.get_content(),
            }
            for part in leaves
        ],
    }


class Keep:
    def __init__(self):
        self.busy = 0
        self.lock = threading.Lock()

    def say(self, value):
        with self.lock:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()

    async def handle_DATA(self, server, session, envelope):
        with self.lock:
            busy, self.busy = self.busy, max(0, self.busy - 1)
        self.say(
            {
                "busy": busy > 0,
                "encrypted": session.ssl is not None,
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                **taken_apart(envelope.content),
            }
        )
        return "451 4.3.2 busy" if busy else "250 2.0.0 taken"


def main():
    mode = sys.argv[1]
    options = {}
    if mode != "clear-text":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        if mode == "wrapper":
            options = {"ssl_context": context}
        else:
            options = {"tls_context": context, "require_starttls": True}
    keep = Keep()

    class Free(Controller):
        # The port is free when it is bound, and not only when it was looked for.
        def _trigger_server(self):
            self.port = self.server.sockets[0].getsockname()[1]
            if mode != "wrapper":
                return super()._trigger_server()
            # The library would be a client with the server's context, which Python refuses.
            client = ssl._create_unverified_context()
            with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
                with client.wrap_socket(plain) as wrapped:
                    wrapped.recv(1024)

    controller = Free(keep, hostname="127.0.0.1", port=0, **options)
    controller.start()
    keep.say({"port": controller.server.sockets[0].getsockname()[1]})
    for line in sys.stdin:
        with keep.lock:
            keep.busy = int(line)
    controller.stop()


main()

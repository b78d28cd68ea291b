# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""How the mirror reaches F5 XC: by a client certificate (PEM, PKCS#12), with a CA of one's own, through
a proxy. A front with TLS stands before the stand-in and asks for the certificate, as F5's edge does."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import f5xc_case
import lab
from f5xc_case import A, B, FAST


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Certificates:
    """A CA, a server's and a client's certificate, and the client's as PKCS#12 with a password."""

    def __init__(self, folder):
        self.folder = folder
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca",
                "-keyout", self.path("ca.key"), "-out", self.path("ca.pem"))
        self.sign("server", "subjectAltName=IP:127.0.0.1")
        self.sign("client", "extendedKeyUsage=clientAuth")
        with open(self.path("word"), "w", encoding="ascii") as f:
            f.write("open sesame\n")
        os.chmod(self.path("word"), 0o600)
        openssl("pkcs12", "-export", "-inkey", self.path("client.key"), "-in", self.path("client.pem"),
                "-out", self.path("client.p12"), "-passout", "pass:open sesame")

    def path(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, extension):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", self.path(name + ".key"),
                "-out", self.path(name + ".csr"))
        with open(self.path("ext"), "w", encoding="ascii") as f:
            f.write(extension + "\n")
        openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path("ca.pem"), "-CAkey",
                self.path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", self.path("ext"),
                "-out", self.path(name + ".pem"))


class Front:
    """TLS that asks for a client certificate; who has one is let through with the token."""

    def __init__(self, f5, certificates):
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                front.tokens += "Authorization" in self.headers
                connection = http.client.HTTPConnection("127.0.0.1", f5.port, timeout=10)
                connection.request(self.command, self.path, body or None,
                                   {"Content-Type": "application/json", "Authorization": "APIToken " + f5.token})
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                front.served += 1
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = forward

        self.served, self.tokens = 0, 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
        context.load_verify_locations(certificates.path("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}/api"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tunnel:
    """A proxy that does CONNECT and nothing else."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.asked = []
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        word, target, _ = head.split(b"\r\n")[0].decode().split()
        self.asked.append((word, target))
        server = socket.create_connection(tuple(target.rsplit(":", 1)))
        client.sendall(b"HTTP/1.1 200 here you are\r\n\r\n")
        for source, to in ((client, server), (server, client)):
            threading.Thread(target=self.pipe, args=(source, to), daemon=True).start()

    @staticmethod
    def pipe(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Reach(f5xc_case.MirrorCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="stanch-certificates.")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.certificates = Certificates(cls.folder)

    def setUp(self):
        super().setUp()
        self.front = Front(self.f5, self.certificates)
        self.addCleanup(self.front.close)

    def start_with(self, more, **tls):
        tls = {"ca_file": "ca.pem"} | tls
        section = ", ".join(f"{key}: {self.certificates.path(name)}" for key, name in tls.items())
        self.lab.configure(self.lab.control_section(
            f5={"url": self.front.url, "token": None, "more": FAST | more | {"tls": "{" + section + "}"}}))
        self.lab.start_control()

    def mirrored(self):
        self.block(A)
        self.until(A)
        self.block(B)
        self.unblock(A)
        self.until(B)
        self.assertGreater(self.front.served, 3)
        self.assertEqual(self.front.tokens, 0)

    def test_a_certificate_and_its_key(self):
        self.start_with({}, cert_file="client.pem", key_file="client.key")
        self.mirrored()

    def test_pkcs12(self):
        self.start_with({}, cert_file="client.p12", key_password_file="word")
        self.mirrored()

    def test_through_a_proxy(self):
        tunnel = Tunnel()
        self.addCleanup(tunnel.socket.close)
        self.start_with({"proxy": tunnel.url}, cert_file="client.pem", key_file="client.key")
        self.mirrored()
        self.assertEqual(set(tunnel.asked), {("CONNECT", self.front.url.split("/")[2])})

    def test_a_certificate_that_f5_does_not_take(self):
        # Of another CA: nothing is mirrored, it shows, and nothing else suffers.
        other = tempfile.mkdtemp(prefix="stanch-certificates.")
        self.addCleanup(shutil.rmtree, other)
        Certificates(other)
        shutil.copy(os.path.join(other, "client.pem"), self.certificates.path("other.pem"))
        shutil.copy(os.path.join(other, "client.key"), self.certificates.path("other.key"))
        self.start_with({}, cert_file="other.pem", key_file="other.key")
        self.block(A)
        lab.wait_for(lambda: "f5xc: listing ip_prefix_sets" in self.warnings(), "the trouble shows")
        lab.wait_for(lambda: self.status()["state"] == "failing", "the mirror says so")
        # The test's certificates live two days: that shows too.
        self.assertIn("the token or certificate ends in", self.warnings())
        self.assertEqual(self.front.served, 0)
        self.assertEqual(self.f5.sets(), [])

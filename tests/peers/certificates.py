# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A certificate authority in a directory, by the openssl command."""

import os
import subprocess

CONF = """[ca]
default_ca = own
[own]
dir = {dir}
new_certs_dir = {dir}
database = {dir}/index
serial = {dir}/serial
default_md = sha256
policy = any
[any]
commonName = supplied
"""


class Authority:
    def __init__(self, folder):
        os.makedirs(folder)
        self.dir = folder
        self.ca = self.path("ca.pem")
        for name, text in (("index", ""), ("serial", "01\n"), ("ca.conf", CONF.format(dir=folder))):
            with open(self.path(name), "w", encoding="ascii") as f:
                f.write(text)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", f"/CN={os.path.basename(folder)}", "-keyout", self.path("ca.key"), "-out", self.ca)

    def path(self, name):
        return os.path.join(self.dir, name)

    @staticmethod
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    def issue(self, name, san, expired=False):
        """(certificate, key): PEM files. san: as DNS:redis.example,IP:127.0.0.1."""
        cert, key, csr, more = (self.path(f"{name}.{end}") for end in ("pem", "key", "csr", "ext"))
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-keyout", key, "-out", csr)
        with open(more, "w", encoding="ascii") as f:
            f.write(f"subjectAltName={san}\n")
        time = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if expired else ["-days", "2"]
        self.openssl("ca", "-batch", "-notext", "-config", self.path("ca.conf"), "-cert", self.ca, "-keyfile",
                     self.path("ca.key"), "-in", csr, "-out", cert, "-extfile", more, *time)
        return cert, key

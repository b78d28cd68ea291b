# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""How control reaches a Redis: a prefix before every key."""

import unittest

import lab
from lab import WORLD
from redis_peer import AVAILABLE
from test_redis import Listed

FIRST, SECOND, THIRD = WORLD


class Reached(Listed):
    """One list of one Redis, reached as `server` (lines of YAML by key) says."""

    def server(self):
        return {"address": self.redis.socket, "user": "stanch",
                "password_file": self.lab.secret("redis.password", "change-me-stanch")}

    def lists_section(self, lists):
        text = "  redis:\n    - name: feeds\n"
        text += "".join(f"      {name}: {value}\n" for name, value in self.server().items()) + "      lists:\n"
        return text + "".join(f"        - {{name: {name}, {more}}}\n" for name, more in lists.items())


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Prefix(Reached, unittest.TestCase):
    def server(self):
        return super().server() | {"key_prefix": "'blocklist:'"}

    def test_before_keys_metadata_and_channels(self):
        # The ACL opens blocklist:* only: what lacks the prefix is refused.
        self.begin({"bad": "key: bad, refresh_s: 3600", "log": "key: log, refresh_s: 1",
                    "said": "key: said, channel: told, refresh_s: 3600, keyspace: true"}, lab.Lab.bare(),
                   **{"notify-keyspace-events": "Ks"})
        self.control = self.lab.start_control()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.meta(2)
        self.read()
        self.says(lambda s: s.get("disagreed"), "metadata are found beside it")
        self.meta(1)
        self.reaches(1)
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + SECOND)
        self.reaches(2)
        self.redis.cli("XADD", "blocklist:log", "*", "op", "add", "indicator", THIRD)
        self.reaches(1, "log")
        self.redis.cli("SADD", "blocklist:said", FIRST)  # a keyspace notification
        self.reaches(1, "said")
        self.redis.cli("SADD", "blocklist:said", SECOND)
        self.redis.cli("PUBLISH", "blocklist:told", "+" + SECOND)
        self.says(lambda s: s.get("points") == 1 and s.get("members") == 2, "the channel has the prefix", "said")
        self.assertEqual(self.state()["key"], "blocklist:bad")


if __name__ == "__main__":
    unittest.main()

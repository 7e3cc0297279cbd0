"""A session with pymemcache against the server on the port given as the only argument."""

import sys

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError

client = Client(("127.0.0.1", int(sys.argv[1])), connect_timeout=5, timeout=20, no_delay=True)


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r:.200}, want {want!r:.200}")


check("flush_all", client.flush_all(noreply=False), True)

check("set", client.set("k", b"one", noreply=False), True)
check("get", client.get("k"), b"one")
check("get of nothing", client.get("none"), None)
check("add to a value", client.add("k", b"two", noreply=False), False)
check("add", client.add("new", b"two", noreply=False), True)
check("replace", client.replace("k", b"three", noreply=False), True)
check("replace of nothing", client.replace("none", b"x", noreply=False), False)

check("append", client.append("k", b"!", noreply=False), True)
check("prepend", client.prepend("k", b"<", noreply=False), True)
check("append and prepend", client.get("k"), b"<three!")

value, token = client.gets("k")
check("gets", value, b"<three!")
check("cas", client.cas("k", b"four", token, noreply=False), True)
check("cas that is late", client.cas("k", b"five", token, noreply=False), False)
check("cas of nothing", client.cas("none", b"x", token, noreply=False), None)
check("get after cas", client.get("k"), b"four")

check("set of a number", client.set("n", b"10", noreply=False), True)
check("incr", client.incr("n", 5, noreply=False), 15)
check("decr", client.decr("n", 4, noreply=False), 11)
check("decr below zero", client.decr("n", 100, noreply=False), 0)
check("incr of nothing", client.incr("none", 1, noreply=False), None)
check("set of the greatest", client.set("n", b"18446744073709551615", noreply=False), True)
check("incr wraps", client.incr("n", 1, noreply=False), 0)
try:
    client.incr("k", 1, noreply=False)
    sys.exit("incr of a word: no error")
except MemcacheClientError:
    pass

many = {f"many-{i}": f"value {i}".encode() for i in range(500)}
check("set_many", client.set_many(many, noreply=False), [])
check("get_many", client.get_many(list(many)), many)
check("gets_many", len(client.gets_many(list(many))), 500)

for size in (0, 1, 8 * 1024, 64 * 1024 + 1, 1024 * 1024 - 512):
    large = bytes(i * 31 % 251 for i in range(4096)) * (size // 4096 + 1)
    large = large[:size]
    check(f"set of {size} bytes", client.set("large", large, noreply=False), True)
    check(f"get of {size} bytes", client.get("large"), large)

check("a key of 250 bytes", client.set("x" * 250, b"y", noreply=False), True)
check("its value", client.get("x" * 250), b"y")

check("set with noreply", client.set("quiet", b"z", noreply=True), True)
check("get after noreply", client.get("quiet"), b"z")

check("touch", client.touch("k", 100, noreply=False), True)
check("touch of nothing", client.touch("none", 100, noreply=False), False)
check("set that expired", client.set("old", b"x", expire=-1, noreply=False), True)
check("get of what expired", client.get("old"), None)

check("delete", client.delete("k", noreply=False), True)
check("delete of nothing", client.delete("k", noreply=False), False)
check("version", isinstance(client.version(), bytes), True)
check("stats", b"curr_items" in client.stats(), True)
check("flush_all at the end", client.flush_all(noreply=False), True)
check("get after flush_all", client.get("new"), None)
client.quit()
print("pymemcache: all as expected")

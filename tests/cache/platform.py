"""Keys as an agent platform keeps them: every type, binary names, expiry, several databases."""

import redis


def fill(client: redis.Redis) -> None:
    """Put at least one key of each kind into databases 0 and 3."""
    client.set("plain", "value")
    client.set(b"binary\x00\xff\r\n", b"\x00\xff")
    client.set("expires", "soon", px=3_600_000)
    client.setbit("bits", 1_000, 1)
    client.pfadd("visitors", *range(500))
    client.hset("small hash", mapping={"a": "1", "b": "\u2603"})
    client.hset("big hash", mapping={f"field {n}": "x" * (n % 50) for n in range(3_000)})
    client.rpush("list", *range(2_500))
    client.sadd("set", *range(2_500))
    client.sadd("words", "one", "two")
    client.zadd("scores", {f"m{n}": n / 7 for n in range(1_500)} | {"inf": float("inf")})
    client.expire("scores", 7_200)
    stream(client, "stream")
    with redis.Redis(
        host=client.get_connection_kwargs()["host"],
        port=client.get_connection_kwargs()["port"],
        db=3,
    ) as other:
        other.set("elsewhere", 1)


def stream(client: redis.Redis, name: str) -> None:
    """A stream with deleted entries, two groups, consumers and unacknowledged entries."""
    for n in range(1_200):
        client.xadd(name, {"n": n}, id=f"{n + 1}-0")
    client.xdel(name, "1200-0", "7-0")
    client.xgroup_create(name, "workers", id="0")
    client.xgroup_create(name, "idle", id="$")
    client.xreadgroup("workers", "first", {name: ">"}, count=20)
    client.xreadgroup("workers", "second", {name: ">"}, count=5)
    client.xack(name, "workers", "1-0")
    client.xgroup_createconsumer(name, "workers", "lazy")

"""A writer at work: it changes keys of every type in every way until the server refuses it."""

import random
import threading

import redis

NAMES = 60


class Writer:
    """Writes from a thread of its own while it is open; ``await_writes`` waits for some."""

    def __init__(self, url: str, database: int = 0) -> None:
        self._client = redis.Redis.from_url(f"{url.rpartition('/')[0]}/{database}")
        self._stop = threading.Event()
        self._wrote = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.writes = 0
        self.counted = 0
        self.refused = False

    def __enter__(self) -> "Writer":
        self._thread.start()
        self.await_writes(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def await_writes(self, number: int) -> None:
        """Wait for so many more writes, or for the server's refusal."""
        with self._wrote:
            until = self.writes + number
            assert self._wrote.wait_for(lambda: self.refused or self.writes >= until, 30)

    def _run(self) -> None:
        chance = random.Random(5)
        while not self._stop.is_set():
            try:
                self._write(chance)
            except redis.exceptions.ConnectionError:
                continue
            except redis.ResponseError as error:
                if "no such key" in str(error):  # it expired between copy and rename
                    continue
                if "replicas" not in f"{error} {error.__cause__}":
                    raise
                self.refused = True
                self._stop.set()
            with self._wrote:
                self.writes += not self.refused
                self._wrote.notify_all()

    def _write(self, chance: random.Random) -> None:
        name, other = (f"live:{each}" for each in chance.sample(range(NAMES), 2))
        client = self._client
        ways = (
            lambda: client.set(name, chance.random()),
            lambda: client.set(name, "short", px=chance.randrange(1, 200)),
            lambda: client.delete(name),
            lambda: client.copy(other, name, replace=True),
            lambda: (
                client.copy(name, "live:moved", replace=True) and client.rename("live:moved", other)
            ),
            lambda: client.pipeline().delete(name).hset(name, "a", chance.random()).execute(),
            lambda: client.pipeline().delete(name).rpush(name, 1, 2, 3).lpop(name, 2).execute(),
            lambda: client.pipeline().delete(name).zadd(name, {"m": chance.random()}).execute(),
            lambda: client.pipeline().delete(name).xadd(name, {"a": 1}).execute(),
            lambda: client.expire(name, 4_000),
            lambda: client.persist(name),
        )
        chance.choice(ways)()
        self.counted = client.incr("counter")

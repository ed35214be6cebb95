"""How a Redis server is entered."""

import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import redis


class RedisAccess(NamedTuple):
    """URL, password, and the certificates (PEM) that sign the server's own, where it has TLS."""

    url: str
    password: str = ""
    authorities: str = ""

    def client(self, *, anonymous: bool = False, **options: Any) -> "redis.Redis":
        """A client; ``anonymous`` gives no password."""
        import redis

        if self.authorities:
            options |= {
                "ssl_ca_data": self.authorities,
                "ssl_check_hostname": False,  # nobody else has a certificate of these
                "ssl_exclude_verify_flags": [ssl.VERIFY_X509_STRICT],
            }
        password = None if anonymous else self.password or None
        client: redis.Redis = redis.Redis.from_url(
            self.url, password=password, socket_timeout=5, **options
        )
        return client

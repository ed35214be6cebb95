"""Google's APIs that have no gRPC, or whose client is too heavy for what is asked of it.

``google.cloud.compute`` takes a second and 90 MB to import for three calls, and Service
Networking has no client at all: both are called as HTTP and JSON through google.auth's session.
"""

from collections.abc import Mapping
from typing import Any

from lib.cloud.errors import Situation, told
from lib.cloud.operations import patiently
from lib.cloud.target import Target

_HOSTS = {
    "compute": "compute.googleapis.com",
    "servicenetworking": "servicenetworking.googleapis.com",
}

Values = dict[str, Any]


class RestClient:
    """HTTP calls of one API on one target; safe to use from several threads.

    ``credentials`` are those of ``google.auth``; the embedded cloud takes the target's token.
    """

    def __init__(self, api: str, target: Target, credentials: Any) -> None:
        self._target = target
        self._session = _session(target, credentials)
        where = target.rest if target.kind == "embedded" else _HOSTS[api]
        self._root = f"https://{where}"

    def read(self, path: str, situation: Situation, **values: str) -> Values:
        """GET, again for a while where the service can't be reached; raises ``CloudError``."""
        with told(situation):
            answer: Values = patiently(self._target.polling)(self._call)("GET", path, values, None)
            return answer

    def write(
        self, verb: str, path: str, body: Mapping[str, Any], situation: Situation, **values: str
    ) -> Values:
        """A call that changes something, once; raises ``CloudError``."""
        with told(situation):
            return self._call(verb, path, values, body)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _call(
        self, verb: str, path: str, values: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Values:
        import requests
        from google.api_core import exceptions as api

        try:
            response = self._session.request(
                verb, f"{self._root}{path}", params=dict(values), json=body,
                timeout=self._target.polling.call,
            )  # fmt: skip
        except requests.Timeout as error:
            raise api.GatewayTimeout(str(error)) from error  # type: ignore[no-untyped-call]
        except requests.RequestException as error:
            raise api.ServiceUnavailable(str(error)) from error  # type: ignore[no-untyped-call]
        if not response.ok:
            raise _error(response)
        answer: Values = response.json()
        return answer


def _error(response: Any) -> Exception:
    """Google's error; the status tells codes apart that share an HTTP number."""
    from google.api_core import exceptions as api

    error: api.GoogleAPICallError = api.from_http_response(response)  # type: ignore[no-untyped-call]
    try:
        status = response.json()["error"]["status"]
    except (ValueError, KeyError, TypeError):
        return error
    kinds: dict[str, Any] = {
        "ABORTED": api.Aborted,
        "FAILED_PRECONDITION": api.FailedPrecondition,
    }
    exact: Exception = error
    if status in kinds:
        exact = kinds[status](error.message, errors=error.errors, details=error.details)
    return exact


def _session(target: Target, credentials: Any) -> Any:
    import requests

    if target.kind == "google":
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    target.authority()  # told here, where the remedy is known
    session = requests.Session()
    session.trust_env = False  # a proxy for the internet has no business on this machine
    session.verify = target.ca
    session.headers["Authorization"] = f"Bearer {target.token}"
    return session

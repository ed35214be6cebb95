"""The API of the API's own tests serves here too."""

from tests.api.conftest import platform_url, start_api  # noqa: F401

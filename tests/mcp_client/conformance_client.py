"""The program that the public conformance suite runs as the client under test.

    conformance client --command "python -m tests.mcp_client.conformance_client" --suite core

The suite starts it with a server's URL as last argument and the scenario's name in
MCP_CONFORMANCE_SCENARIO; it does what the scenario asks through ``MCPClient``.
"""

import asyncio
import json
import os
import sys
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urljoin, urlparse

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types import ElicitResult

from lib.mcp_client import Callbacks, HTTPServer, MCPClient, ServerOptions

CALLBACK = "http://localhost:3030/callback"
CLIENT_DOCUMENT = "https://conformance-test.local/client-metadata.json"


class Kept:
    """Tokens and registration, for as long as the program runs."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Goes where the authorization server sends a user, and brings the code back."""

    location = ""

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient() as client:
            response = await client.get(url, follow_redirects=False)
            self.location = response.headers["location"]

    async def code(self) -> AuthorizationCodeResult:
        query = parse_qs(urlparse(self.location).query)
        (code,) = query["code"]
        state, issuer = (query.get(name, [None])[0] for name in ("state", "iss"))
        return AuthorizationCodeResult(code=code, state=state, iss=issuer)


async def identity_assertion(context: dict[str, Any], audience: str, resource: str) -> str:
    """The enterprise's assertion for the server, for the token of its user (RFC 8693)."""
    kind = "urn:ietf:params:oauth:token-type"
    wish = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": f"{kind}:id-jag",
        "subject_token": context["idp_id_token"],
        "subject_token_type": f"{kind}:id_token",
        "audience": audience,
        "resource": resource,
        "client_id": context["idp_client_id"],
    }
    async with httpx2.AsyncClient() as client:
        answer = await client.post(context["idp_token_endpoint"], data=wish)
        return str(answer.raise_for_status().json()["access_token"])


def cross_app_access(url: str, context: dict[str, Any]) -> httpx2.Auth:
    """The SDK wants to be told the authorization server; the suite tells it by metadata alone."""
    place = urljoin(url, f"/.well-known/oauth-protected-resource{urlparse(url).path}")
    (issuer,) = httpx2.get(place).json()["authorization_servers"]
    return IdentityAssertionOAuthProvider(
        url,
        Kept(),
        context["client_id"],
        context["client_secret"],
        issuer,
        partial(identity_assertion, context),
        token_endpoint_auth_method="client_secret_basic",
    )


def authorization(url: str, scenario: str, context: dict[str, Any]) -> httpx2.Auth:
    if scenario == "auth/cross-app-access-complete-flow":
        return cross_app_access(url, context)
    kept = Kept()
    if scenario == "auth/client-credentials-basic":
        return ClientCredentialsOAuthProvider(
            url, kept, context["client_id"], context["client_secret"]
        )
    if scenario == "auth/client-credentials-jwt":
        signing = SignedJWTParameters(
            issuer=context["client_id"],
            subject=context["client_id"],
            signing_key=context["private_key_pem"],
            signing_algorithm=context.get("signing_algorithm", "ES256"),
        )
        return PrivateKeyJWTOAuthProvider(
            url, kept, context["client_id"], signing.create_assertion_provider()
        )
    if "client_id" in context:
        kept.client = OAuthClientInformationFull(
            client_id=context["client_id"],
            client_secret=context.get("client_secret"),
            token_endpoint_auth_method="client_secret_basic",
            redirect_uris=[CALLBACK],
        )
    browser = Browser()
    metadata = OAuthClientMetadata(
        client_name="orchestra conformance",
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
    )
    return OAuthClientProvider(
        url,
        metadata,
        kept,
        redirect_handler=browser.visit,
        callback_handler=browser.code,
        client_metadata_url=CLIENT_DOCUMENT,
    )


async def accept_defaults(context: Any, question: Any) -> ElicitResult:
    properties = question.requested_schema.get("properties", {})
    defaults = {name: value["default"] for name, value in properties.items() if "default" in value}
    return ElicitResult(action="accept", content=defaults)


ARGUMENTS: dict[str, dict[str, Any]] = {"add_numbers": {"a": 5, "b": 3}}


async def main() -> None:
    url, scenario = sys.argv[-1], os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    auth = authorization(url, scenario, context) if scenario.startswith("auth/") else None
    server = HTTPServer(url, auth=auth, options=ServerOptions(timeout=20))
    async with MCPClient(server, callbacks=Callbacks(elicitation=accept_defaults)) as client:
        for named in await client.tools():
            await client.call_tool(named.name, ARGUMENTS.get(named.tool.name, {}))


if __name__ == "__main__":
    asyncio.run(main())

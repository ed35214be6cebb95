"""Every method that the migration calls x what may be wrong with a call -> the documented code."""

from tests.localcloud.contract import kinds, special, vertex

CASES = [*kinds.CASES, *special.CASES, *vertex.CASES]
"""Client, method, what about the call, request, code, principal."""

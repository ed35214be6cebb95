"""The circuit breaker's parts; its public face is ``lib.circuit_breaker``."""

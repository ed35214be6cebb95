"""Every call of a migration that changes Google Cloud x every fault: what a run does about it.

``python -m tests.cloud.matrix`` runs all of it and writes the table into
``docs/embedded-cloud.md``.
"""

"""Database flags of AlloyDB instances, by Google's names, and what they set in PostgreSQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: INTEGER between ``low`` and ``high``, FLOAT, or STRING among ``values``."""

    name: str
    type: str
    low: int = 0
    high: int = 0
    values: tuple[str, ...] = ()
    restart: bool = False

    def complaint(self, value: str) -> str:
        """What is wrong with a value; empty text where nothing is."""
        if self.type == "INTEGER":
            if not value.lstrip("-").isdigit() or not self.low <= int(value) <= self.high:
                return f"'{value}' is not an integer from {self.low} to {self.high}"
        elif self.type == "FLOAT":
            try:
                float(value)
            except ValueError:
                return f"'{value}' is not a number"
        elif self.values and value not in self.values:
            return f"'{value}' is not one of {', '.join(self.values)}"
        return ""


def _integer(name: str, low: int, high: int, *, restart: bool = False) -> Flag:
    return Flag(name, "INTEGER", low, high, restart=restart)


def _switch(name: str) -> Flag:
    return Flag(name, "STRING", values=("on", "off"))


FLAGS: Final[Mapping[str, Flag]] = {
    flag.name: flag
    for flag in (
        _integer("autovacuum_max_workers", 1, 64, restart=True),
        _integer("autovacuum_naptime", 1, 2147483),
        _integer("autovacuum_vacuum_cost_delay", -1, 100),
        _integer("autovacuum_vacuum_cost_limit", -1, 10000),
        _integer("deadlock_timeout", 1, 2147483647),
        _integer("effective_cache_size", 1, 2147483647),
        _integer("effective_io_concurrency", 0, 1000),
        _integer("idle_in_transaction_session_timeout", 0, 2147483647),
        _integer("lock_timeout", 0, 2147483647),
        _integer("log_min_duration_statement", -1, 2147483647),
        _integer("log_temp_files", -1, 2147483647),
        _integer("maintenance_work_mem", 1024, 2147483647),
        _integer("max_connections", 25, 10000, restart=True),
        _integer("max_locks_per_transaction", 10, 2147483647, restart=True),
        _integer("max_parallel_maintenance_workers", 0, 1024),
        _integer("max_parallel_workers", 0, 1024),
        _integer("max_parallel_workers_per_gather", 0, 1024),
        _integer("max_replication_slots", 10, 1000, restart=True),
        _integer("max_wal_senders", 10, 1000, restart=True),
        _integer("max_worker_processes", 8, 1024, restart=True),
        _integer("statement_timeout", 0, 2147483647),
        _integer("temp_buffers", 100, 1073741823),
        _integer("work_mem", 64, 2147483647),
        Flag("random_page_cost", "FLOAT"),
        Flag("seq_page_cost", "FLOAT"),
        _switch("alloydb.iam_authentication"),
        _switch("alloydb.logical_decoding"),
        _switch("autovacuum"),
        _switch("enable_hashjoin"),
        _switch("enable_indexscan"),
        _switch("enable_mergejoin"),
        _switch("enable_nestloop"),
        _switch("enable_seqscan"),
        _switch("jit"),
        _switch("log_connections"),
        _switch("log_lock_waits"),
        Flag("log_statement", "STRING", values=("none", "ddl", "mod", "all")),
    )
}


def violations(flags: Mapping[str, str]) -> list[tuple[str, str]]:
    """``(field, description)`` of every flag that is unknown or has a wrong value."""
    found = []
    for name, value in flags.items():
        flag = FLAGS.get(name)
        complaint = flag.complaint(value) if flag else "unknown database flag"
        if complaint:
            found.append((f"instance.database_flags[{name}]", complaint))
    return found


SHARED: Final = (
    "max_connections", "max_locks_per_transaction", "max_wal_senders", "max_worker_processes",
)  # fmt: skip
"""What a standby must allow at least as much of as its primary."""


def allowing(own: Mapping[str, str], primary: Mapping[str, str]) -> dict[str, str]:
    """A standby's own settings, raised to what its primary allows."""
    found = dict(own)
    for name in SHARED:
        if name in primary:
            found[name] = str(max(int(found.get(name, "0")), int(primary[name])))
    return found


def settings(flags: Mapping[str, str]) -> dict[str, str]:
    """PostgreSQL settings for the flags."""
    found = {name: value for name, value in flags.items() if "." not in name}
    if "alloydb.logical_decoding" in flags:
        on = flags["alloydb.logical_decoding"] == "on"
        found["wal_level"] = "logical" if on else "replica"
    return found

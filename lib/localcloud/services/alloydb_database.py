"""Work inside an instance's PostgreSQL as its superuser: users, databases."""

from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from lib.localcloud import errors

SUPERUSER = "alloydbsuperuser"
IAM_ROLE = "alloydbiamuser"
REPLICA_ROLE = "alloydbreplica"


@dataclass(frozen=True, slots=True)
class Database:
    """The way into an instance; the password stays out of the repr."""

    host: str
    password: str = field(repr=False)

    def prepare(self) -> None:
        """Make the roles that AlloyDB has and PostgreSQL has not."""
        with self._connect() as connection:
            for role in (SUPERUSER, IAM_ROLE):
                self._ensure_role(connection, role)

    def admit_replica(self, password: str, slot: str) -> None:
        """Make the role and the slot by which a standby follows; repeatable."""
        with self._connect() as connection:
            self._ensure_role(connection, REPLICA_ROLE)
            statement = sql.SQL("ALTER ROLE {} LOGIN REPLICATION")
            connection.execute(statement.format(sql.Identifier(REPLICA_ROLE)))
            self._alter_password(connection, REPLICA_ROLE, password)
        with self._connect() as connection:  # a slot is made in a transaction that writes nothing
            connection.execute(
                "SELECT pg_create_physical_replication_slot(%s, true) WHERE NOT EXISTS"
                " (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
                (slot, slot),
            )

    def dismiss_replica(self, slot: str) -> None:
        """Drop a standby's slot, and who uses it."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
                " WHERE slot_name = %s AND active",
                (slot,),
            )
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = %s",
                (slot,),
            )

    def make_user(self, name: str, password: str, roles: list[str]) -> None:
        """Make or change a login role; its memberships become ``roles``."""
        with self._connect() as connection:
            self._ensure_role(connection, name)
            role = sql.Identifier(name)
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))
            if password:
                self._alter_password(connection, name, password)
            if name != "postgres":
                self._set_roles(connection, name, roles)

    def set_password(self, name: str, password: str) -> None:
        """Give a role another password; repeatable, since it may hold already."""
        try:
            with self._connect() as connection:
                self._alter_password(connection, name, password)
        except psycopg.OperationalError:
            Database(self.host, password).prepare()

    def drop_user(self, name: str) -> None:
        """Remove a role; FAILED_PRECONDITION while it owns something."""
        role = sql.Identifier(name)
        try:
            with self._connect() as connection:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise errors.failed_precondition(name, str(error).strip()) from error

    def databases(self) -> list[tuple[str, str, str]]:
        """Name, character set and collation of every database but the templates."""
        with self._connect() as connection:
            return connection.execute(
                "SELECT datname, pg_encoding_to_char(encoding), datcollate FROM pg_database"
                " WHERE NOT datistemplate ORDER BY datname"
            ).fetchall()

    def _connect(self) -> "psycopg.Connection[tuple[str, str, str]]":
        return psycopg.connect(
            host=self.host, port=5432, user="postgres", password=self.password,
            dbname="postgres", connect_timeout=10,
        )  # fmt: skip

    @staticmethod
    def _ensure_role(connection: "psycopg.Connection[tuple[str, str, str]]", name: str) -> None:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))

    @staticmethod
    def _alter_password(
        connection: "psycopg.Connection[tuple[str, str, str]]", name: str, password: str
    ) -> None:
        hashed = connection.pgconn.encrypt_password(
            password.encode(), name.encode(), b"scram-sha-256"
        )
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(hashed.decode())))

    @staticmethod
    def _set_roles(
        connection: "psycopg.Connection[tuple[str, str, str]]", name: str, roles: list[str]
    ) -> None:
        user = sql.Identifier(name)
        privilege = sql.SQL("SUPERUSER" if SUPERUSER in roles else "NOSUPERUSER")
        connection.execute(sql.SQL("ALTER ROLE {} {}").format(user, privilege))
        held = connection.execute(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = %s",
            (name,),
        ).fetchall()
        for (role,) in {(row[0],) for row in held if row[0] not in roles}:
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), user))
        for role in roles:
            try:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), user))
            except psycopg.errors.UndefinedObject as error:
                raise errors.invalid("user.database_roles", f"role '{role}' is unknown") from error

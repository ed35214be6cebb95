"""The target follows its source: PostgreSQL's own logical replication, watched."""

from dataclasses import dataclass

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import followable, replication, subscription, sync_record
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import PostgresError, SchemaChanged
from lib.postgres.lag import Follower
from lib.postgres.online import Online
from lib.postgres.selection import ALL, Selection, selected
from lib.postgres.sync_record import Sync
from lib.postgres.writes import read_only

_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class FollowingState:
    """Whether the target follows, how many bytes it is behind, and whether it took over."""

    following: bool
    behind: int
    taken_over: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """The target applies the source's changes and has caught up with them once."""

    source: Database
    target: Database
    online: Online
    selection: Selection = ALL

    @property
    def subject(self) -> str:
        """The two databases."""
        return f"changes of {self.source.name} into {self.target.name}"

    def observe(self) -> FollowingState | None:
        """How the subscription stands; None where there is none."""
        with connect(self.source) as source, connect(self.target) as target:
            sync = sync_record.read(target)
            found = subscription.read(target, self.online.name)
            over = taken_over(source, target)
            slot = replication.slot(source, self.online.name)
        if found is None and not over:
            return None
        following = bool(found and found.enabled and sync and sync.followed)
        return FollowingState(following, slot.behind if slot else 0, over)

    def plan(self, observed: FollowingState | None) -> Change:
        """CREATE, with the bytes to apply; raises ``Obstacle``, ``SlotLost``, ``SchemaChanged``."""
        if observed is not None and (observed.taken_over or observed.following):
            reason = "the target has taken over" if observed.taken_over else ""
            return Change(ChangeKind.NONE, self.subject, reason=reason)
        with connect(self.source) as source, connect(self.target) as target:
            subscription.refuse(target)
            sync = require_sync(target)
            slot = replication.require_slot(source, sync.name)
            refuse_changed(source, sync, self.selection)
        return Change(ChangeKind.CREATE, self.subject, quantities={"bytes": slot.behind})

    def apply(self, change: Change, journal: Journal) -> None:
        """Subscribe, close the target to others, and wait until it has caught up."""
        del change
        name = self.online.name
        with connect(self.source) as source, connect(self.target) as target:
            require_sync(target)
            replication.require_slot(source, name)
            if subscription.read(target, name) is None:
                subscription.create(target, name, self.online.seen_from_target or self.source)
            sync_record.note(target, followed=True)
            if subscription.public_may_connect(target):
                sync_record.note(target, closed=True)
                subscription.close(target)
            subscription.enable(target, name)
            end = replication.position(source)
            Follower(source, target, name).reach(end, journal, pause=_PAUSE)

    def verify(self) -> FollowingState:
        """The subscription is enabled."""
        state = self.observe()
        if state is None or not (state.following or state.taken_over):
            raise VerificationError(
                f"{self.target.url} does not follow {self.source.url}.",
                remedy="run the same command again",
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """End the subscription and its slot, and let PUBLIC connect where it could before."""
        del change, journal
        with connect(self.source) as source, connect(self.target) as target:
            subscription.drop(target, self.online.name)
            replication.drop_slot(source, self.online.name)
            sync = sync_record.read(target)
            if sync is not None and sync.closed:
                subscription.open_again(target)
                sync_record.note(target, closed=False)


def taken_over(source: Connection, target: Connection) -> bool:
    """Whether the cutover is done: the target says so, or its bookkeeping went after it."""
    sync = sync_record.read(target)
    if sync is not None:
        return sync.seconds is not None
    return read_only(source)


def require_sync(target: Connection) -> Sync:
    """The target's record of its slot; raises ``PostgresError`` when there is none."""
    sync = sync_record.read(target)
    if sync is None:
        raise PostgresError(
            "The target's rows were not copied with a slot, so nothing tells what changed since.",
            remedy='run the step that copies the rows with data_migration.mode = "online"',
        )
    return sync


def refuse_changed(source: Connection, sync: Sync, selection: Selection) -> None:
    """Raise ``SchemaChanged`` when the source's tables are not those that were copied."""
    now = followable.shape(selected(source, selection))
    if told := followable.changed(sync.shape, now):
        raise SchemaChanged(
            "The source's tables changed after they were copied:\n"
            + "\n".join(f"  - {each}" for each in told),
            expected="no CREATE, ALTER or DROP TABLE between copy and cutover",
            remedy="undo the change on the source, or take the move back with --rollback and"
            " start it anew",
        )

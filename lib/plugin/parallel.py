"""Steps on several xdist workers, each begun as soon as its own prerequisites are done.

xdist's workers run an item only once the next one has been sent to them, and its schedulers know
no order between items.  So the controller has a scheduler of its own, which sends one step to an
idle worker when it may run, and a worker has a loop of its own, which runs it at once.
"""

import heapq
import os
import signal
from collections.abc import Sequence
from typing import Any, cast

import pytest

from lib.plugin import dependency, interruption
from lib.plugin.session import MigrationSession, of
from lib.report.model import StepRow, StepState

_SUCCEEDED = (StepState.DONE, StepState.SKIPPED_DONE)


# -- the controller --------------------------------------------------------------------------------


class GraphScheduling:
    """Sends each selected step to an idle worker when its prerequisites have been seen to.

    A step whose prerequisites failed is sent too: the worker skips it, and says why, as a serial
    run does.  Implements ``xdist.scheduler.protocol.Scheduling``.
    """

    def __init__(self, config: pytest.Config, migration: MigrationSession) -> None:
        self.config = config
        self._migration = migration
        self._places: dict[Any, dict[str, int]] = {}
        self._running: dict[Any, str] = {}
        self._succeeded = set(migration.succeeded_before())
        graph = migration.graph
        chains = graph.chains(migration.run.earlier_seconds())
        self._rank = {name: (-chains[name], at) for at, name in enumerate(graph.order)}
        self._dependents = graph.dependents()
        self._unmet = {
            name: sum(each in migration.selected for each in graph.prerequisites[name])
            for name in migration.selected
        }
        self._ready = [(self._rank[name], name) for name, unmet in self._unmet.items() if not unmet]
        heapq.heapify(self._ready)
        self._left = len(self._unmet)

    @property
    def nodes(self) -> list[Any]:
        """The workers that can be sent steps, or run one."""
        return list(self._places)

    @property
    def collection_is_completed(self) -> bool:
        """Whether work can begin: one worker that has collected is enough."""
        return any(self._places.values())

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to send or to wait for."""
        return not self._running and (not self._left or self._migration.run.interrupted)

    @property
    def has_pending(self) -> bool:
        """Whether some worker is at work."""
        return bool(self._running)

    def add_node(self, node: Any) -> None:
        """Take a worker into account; it has yet to collect."""
        self._places[node] = {}

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Know where each step is in a worker's list of items."""
        names = {each.item.nodeid: name for name, each in self._migration.declared.items()}
        self._places[node] = {
            names[nodeid]: place for place, nodeid in enumerate(collection) if nodeid in names
        }

    def schedule(self) -> None:
        """Send what may run to whoever is idle, the step with most behind it first."""
        if self._migration.run.interrupted:
            return
        idle = [node for node in self._places if self._places[node] and node not in self._running]
        for node in idle:
            if not self._ready:
                return
            self._send(node, heapq.heappop(self._ready)[1])

    def _send(self, node: Any, name: str) -> None:
        self._running[node] = name
        run = self._migration.run
        needed = self._migration.graph.prerequisites[name]
        node.send_runtest_some(
            [
                {
                    "place": self._places[node][name],
                    "succeeded": [each for each in needed if each in self._succeeded],
                    "run": run.number,
                    "token": run.token,
                }
            ]
        )

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ARG002
        """Take a worker's step as settled, and send what that makes possible."""
        name = self._running.pop(node)
        self._settle(name)
        self.schedule()

    def _settle(self, name: str) -> None:
        self._left -= 1
        row = self._migration.rows.get(name)
        if row is not None and row.state in _SUCCEEDED:
            self._succeeded.add(name)
        for each in self._dependents[name]:
            if each in self._unmet:
                self._unmet[each] -= 1
                if not self._unmet[each]:
                    heapq.heappush(self._ready, (self._rank[each], each))

    def mark_test_pending(self, item: str) -> None:
        """Send a step once more; a step that killed its worker is not."""
        raise NotImplementedError("a step that lost its worker is not run again in the same run")

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """Never asked for: a worker holds one step at most."""
        raise NotImplementedError("workers hold no steps in reserve")

    def remove_node(self, node: Any) -> str | None:
        """Forget a worker; gives the step that it was at, which is lost for this run."""
        del self._places[node]
        name = self._running.pop(node, None)
        if name is None:
            return None
        declared = self._migration.declared[name]
        self._migration.rows[name] = StepRow(
            name,
            declared.title,
            declared.phase,
            declared.component,
            StepState.FAILED,
            run=self._migration.run.number,
            error="The process that ran this step died.\n"
            "  to mend it: run the same command again; it goes on from the step's intent",
        )
        self._settle(name)
        self.schedule()
        return declared.item.nodeid

    # -- interruption ----------------------------------------------------------------------------

    def ask_workers_to_stop(self) -> None:
        """Let the workers' steps reach a safe point; nothing more is sent."""
        for node in self._running:
            interruption.send(_pid(node), signal.SIGTERM)

    def stop_workers(self) -> None:
        """End the workers' steps where they are."""
        for node in self._running:
            interruption.send(_pid(node), signal.SIGKILL)


def _pid(node: Any) -> int:
    return int(node.gateway._rinfo().pid)  # xdist has asked the worker for it when it began


# -- a worker --------------------------------------------------------------------------------------


def run_as_worker(session: pytest.Session) -> bool:
    """Run each step as soon as the controller sends it, until it says that there are no more."""
    migration = of(session.config)
    interactor: Any = next(
        each for each in session.config.pluginmanager.get_plugins() if hasattr(each, "torun")
    )
    shutdown = type(interactor).run_one_test.__globals__["Marker"].SHUTDOWN

    def hear(command: Any) -> None:
        if command is shutdown and migration.at_work:
            # The controller died, and its lock with it: another run may begin at any moment.
            os._exit(1)
        interactor.handle_command(command)

    interactor.channel.setcallback(hear, endmarker=shutdown)
    interruption.listen_as_worker(migration)
    while (message := interactor.torun.get()) is not shutdown:
        _run_one(session, migration, interactor, message)
        if session.shouldfail or session.shouldstop:
            break
    return True


def _run_one(
    session: pytest.Session, migration: MigrationSession, interactor: Any, message: Any
) -> None:
    item = session.items[message["place"]]
    migration.join_run(message["run"], message["token"])
    dependency.only_these_are_done(item, message["succeeded"])
    interactor.item_index = message["place"]
    # Tears down to the session alone, whose fixtures live on for whatever comes next.
    nextitem = cast(pytest.Item, session)
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
    interactor.sendevent("runtest_protocol_complete", item_index=message["place"], duration=0.0)

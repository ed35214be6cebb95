"""Every kind's wish against Google's own messages: what is created, compared and masked."""

import dataclasses

import pytest

from lib.cloud import fields
from lib.cloud.cloud import Cloud
from lib.cloud.kind import Condition
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.settings import Settings

S = Settings()
PSC = dataclasses.replace(S.alloydb, ip_type="PSC")
MORE = dataclasses.replace(S.alloydb, read_pool_nodes=2, backup="b", iam_users=("a@b.example",))


@pytest.fixture
def cloud(memorystore):
    import grpc

    cloud = Cloud(Target.embedded("unused", "", "", project=S.project.id))
    cloud.clients._shared_channel = grpc.insecure_channel(f"127.0.0.1:{memorystore.port}")
    yield cloud
    cloud.close()


def resources(cloud):
    return [
        cloud.project(S.project),
        cloud.service_account(S.project),
        cloud.alloydb_cluster(S.project, S.network, S.alloydb, lambda: "p"),
        cloud.alloydb_instance(S.project, S.alloydb),
        cloud.alloydb_instance(S.project, dataclasses.replace(S.alloydb, ip_type="PUBLIC")),
        cloud.alloydb_cluster(S.project, S.network, PSC, lambda: "p"),
        cloud.alloydb_instance(S.project, PSC),
        cloud.alloydb_read_pool(S.project, MORE),
        cloud.alloydb_iam_user(S.project, MORE, "a@b.iam.gserviceaccount.com", ["app"]),
        cloud.alloydb_built_in_user(S.project, MORE, "app", lambda: "p", ["alloydbsuperuser"]),
        cloud.alloydb_backup(S.project, MORE),
        cloud.redis_instance(S.project, S.network, S.redis),
        cloud.workstation_cluster(S.project, S.network, S.workstations),
        cloud.workstation_config(S.project, S.workstations),
        cloud.workstation(S.project, S.workstations),
        cloud.run_service(S.project, S.api, {"A": "1"}, {"B": "secret-b"}, "sa@x", S.network),
    ]


def test_each_wish_is_a_message_that_then_shows_no_difference(cloud):
    for each in resources(cloud):
        assert each.plan(None).kind is ChangeKind.CREATE
        made = each.message(dict(each.body))
        if hasattr(made, "state"):
            ready = [s for s in type(made.state) if _ready(each, made, s)]
            made.state = ready[0]
        assert each.plan(made).kind is ChangeKind.NONE, each.subject


def test_a_database_users_other_roles_stay(cloud):
    user = cloud.alloydb_iam_user(S.project, MORE, "a@b.iam.gserviceaccount.com", ["app"])
    assert user.name.endswith("/users/a@b.iam")
    there = user.message(dict(user.body))
    there.database_roles = ["other", "app", "alloydbiamuser"]
    assert user.plan(there).kind is ChangeKind.NONE
    there.database_roles = ["alloydbiamuser", "other"]
    change = user.plan(there)
    assert [each.path for each in change.fields] == ["database_roles"]
    there = user.message({"user_type": "ALLOYDB_BUILT_IN"})
    assert user.plan(there).kind is ChangeKind.REPLACE


def test_iam_users_turn_iam_logins_on(cloud):
    for instance in (cloud.alloydb_instance, cloud.alloydb_read_pool):
        flags = instance(S.project, MORE).body["database_flags"]
        assert flags == {"alloydb.iam_authentication": "on"}


def test_redis_on_a_shared_network_uses_private_services_access(cloud):
    shared = dataclasses.replace(S.network, name="projects/host/global/networks/shared")
    body = cloud.redis_instance(S.project, shared, S.redis).body
    assert body["connect_mode"] == "PRIVATE_SERVICE_ACCESS"
    assert "connect_mode" not in cloud.redis_instance(S.project, S.network, S.redis).body


def _ready(resource, message, state):
    message.state = state
    return resource.kind.condition(message) is Condition.READY


def test_masks_are_as_the_apis_take_them(cloud):
    instance = cloud.alloydb_instance(S.project, S.alloydb)
    assert fields.mask(
        instance.message,
        ["machine_config.cpu_count", "database_flags.alloydb.enable_pgaudit"],
        instance.kind.wholes,
    ) == ["machine_config", "database_flags"]
    service = cloud.run_service(S.project, S.api, {}, {}, "sa@x")
    there = service.message(dict(service.body))
    wish = cloud.run_service(S.project, S.api, {"A": "1"}, {}, "sa@x")
    changed = wish.plan(there).fields
    assert [each.path for each in changed] == ["template.containers"]
    assert fields.mask(wish.message, [each.path for each in changed], wish.kind.wholes) == [
        "template"
    ]


def test_a_workstation_gpu_changes_in_place_but_its_home_does_not(cloud):
    config = cloud.workstation_config(S.project, S.workstations)
    there = config.message(dict(config.body))
    more = dataclasses.replace(S.workstations, accelerator_count=4)
    change = cloud.workstation_config(S.project, more).plan(there)
    assert change.kind is ChangeKind.UPDATE
    assert [each.path for each in change.fields] == ["host.gce_instance.accelerators"]
    home = dataclasses.replace(S.workstations, disk_gb=500)
    assert cloud.workstation_config(S.project, home).plan(there).kind is ChangeKind.REPLACE


def test_boosts_are_compared_and_change_in_place(cloud):
    boosts = {"training": "n1-standard-32 with 4 nvidia-tesla-t4", "build": "n2-standard-32"}
    wanted = cloud.workstation_config(S.project, dataclasses.replace(S.workstations, boosts=boosts))
    there = wanted.message(dict(wanted.body))
    found = there.host.gce_instance.boost_configs
    assert [each.id for each in found] == ["build", "training"]
    assert (found[1].machine_type, found[1].accelerators[0].count) == ("n1-standard-32", 4)
    found[0].boot_disk_size_gb = 50  # as Google fills it
    assert wanted.plan(there).kind is ChangeKind.NONE
    found[1].machine_type = "n1-standard-16"
    change = wanted.plan(there)
    assert change.kind is ChangeKind.UPDATE
    assert [each.path for each in change.fields] == ["host.gce_instance.boost_configs"]

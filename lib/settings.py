"""What an environment file may say, as frozen values with their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: ``environments/``, ``phases/`` and ``reports/`` are found from here."""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The project, its parent and where it runs."""

    id: str = "ai-orchestra"
    organization: str = "873291114285"
    region: str = "us-central1"
    zone: str = "us-central1-a"
    labels: Mapping[str, str] = field(default_factory=lambda: {"platform": "ai-orchestra"})
    services: tuple[str, ...] = (
        "compute.googleapis.com",
        "servicenetworking.googleapis.com",
        "alloydb.googleapis.com",
        "redis.googleapis.com",
        "workstations.googleapis.com",
        "run.googleapis.com",
        "secretmanager.googleapis.com",
        "iam.googleapis.com",
        "aiplatform.googleapis.com",
    )
    service_account: str = "orchestra-agent"


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The VPC network that the managed services join; what of it is not there is made.

    A new subnetwork gets ``subnetwork_range``; Google's services get ``services_range``, an
    address range of ``services_prefix`` bits that Google chooses free of the others.
    """

    name: str = "default"
    subnetwork: str = "default"
    subnetwork_range: str = "10.10.0.0/20"
    services_range: str = "google-managed-services"
    services_prefix: int = 16


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Where the platform stands today; with neither URL a sample is made and used.

    ``*_password_env`` name environment variables that hold the passwords.
    ``postgresql_seen_from_target`` is the address by which the target's server reaches the source
    in an online migration, where that is another one.
    """

    postgresql: str = ""
    postgresql_password_env: str = ""
    postgresql_seen_from_target: str = ""
    redis: str = ""
    redis_password_env: str = ""
    sample_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class AlloyDBSettings:
    """The AlloyDB cluster, its primary instance and the database in it.

    ``connection`` says how the migration reaches it: "direct" speaks to its address, "connector"
    goes through Google's connector (mutual TLS, IAM) to the address of the kind ``ip_type``.
    "PSC" is Private Service Connect: the instance has an endpoint in the subnetwork, and no
    network of Google's is connected to ours.  With ``read_pool_nodes`` there is a read pool called
    ``read_pool``.  ``iam_users`` (addresses of principals) log in by IAM and hold the application's
    role.  ``backup`` names a backup that the last phase takes; without it none is taken.
    """

    cluster: str = "agent-storage"
    primary: str = "agent-storage-primary"
    cpu_count: int = 4
    database: str = "orchestra"
    application_role: str = "orchestra_app"
    connection: Literal["direct", "connector"] = "direct"
    ip_type: Literal["PRIVATE", "PUBLIC", "PSC"] = "PRIVATE"
    read_pool: str = "agent-storage-readers"
    read_pool_nodes: int = 0
    iam_users: tuple[str, ...] = ()
    backup: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """The Memorystore for Redis instance; its encryption is chosen when it is made."""

    instance: str = "agent-memory"
    tier: Literal["BASIC", "STANDARD_HA"] = "STANDARD_HA"
    memory_gb: int = 5
    version: str = "REDIS_7_2"
    transit_encryption: Literal["DISABLED", "SERVER_AUTHENTICATION"] = "DISABLED"


@dataclass(frozen=True, slots=True)
class WorkstationSettings:
    """The workstation cluster, its configuration with GPUs and one workstation.

    ``boosts`` are other machines that developers may start their workstations on, by the id that
    they choose: "MACHINE", or "MACHINE with COUNT GPU".
    """

    cluster: str = "ai-development"
    config: str = "gpu"
    workstation: str = "first"
    machine_type: str = "n1-standard-16"
    accelerator: str = "nvidia-tesla-t4"
    accelerator_count: int = 2
    disk_gb: int = 200
    boosts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """The Apache Beam pipeline that copies rows where ``engine`` is "beam".

    ``runner`` and ``options`` have Beam's names; an option "true" is a flag, commas separate what
    Beam takes several times.  ``*_seen_from_workers`` are URLs by which workers reach the
    databases, where those differ; ``*_password_from`` say where workers read the passwords:
    "projects/PROJECT/secrets/NAME", "env:VARIABLE" or "file:/path".
    """

    runner: str = "DirectRunner"
    options: Mapping[str, str] = field(default_factory=dict)
    source_seen_from_workers: str = ""
    source_password_from: str = ""
    target_seen_from_workers: str = ""
    target_password_from: str = ""


@dataclass(frozen=True, slots=True)
class DataMigrationSettings:
    """How rows and keys move.

    ``mode`` "offline" copies while nobody writes; "online" copies, follows every change with
    logical replication and cuts over.  ``keyless_tables`` are then copied again while writes are
    stopped, or refused.  ``include_tables`` and ``exclude_tables`` are patterns of
    ``schema.table``; ``rows`` has for such patterns the SQL condition for the rows that move.
    ``engine`` "local" copies rows by threads of this process, "beam" by a pipeline's workers.
    """

    mode: Literal["offline", "online"] = "offline"
    keyless_tables: Literal["copy_again", "refuse"] = "copy_again"
    workers: int = 2
    chunk_mb: int = 64
    rate_mb_per_second: float = 0.0
    include_tables: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    existing_keys: Literal["refuse", "overwrite", "skip"] = "refuse"
    engine: Literal["local", "beam"] = "local"
    beam: BeamSettings = BeamSettings()


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """How vector columns are indexed and searched.

    ``backend`` says where searches go.  With "vertex" the indexes in AlloyDB are made all the
    same: they answer while Vertex AI does not, and tell what a right answer is.
    """

    backend: Literal["alloydb", "vertex"] = "alloydb"
    method: Literal["auto", "hnsw", "ivfflat", "scann"] = "auto"
    metric: Literal["cosine", "l2", "inner_product"] = "cosine"
    recall_target: float = 0.95
    neighbours: int = 10


@dataclass(frozen=True, slots=True)
class VertexSettings:
    """Vertex AI vector search, where ``vectors.backend`` is "vertex".

    Every collection gets an index, deployed at one public ``endpoint`` on ``machine_type``.
    ``distance`` "auto" follows ``vectors.metric``; cosine is then a dot product of unit vectors, as
    Google advises.  ``leaf_vectors`` and ``leaf_percent`` shape the tree of the index and how much
    of it a search reads, ``approximate_neighbours`` how many candidates it compares exactly;
    tuning raises the last two for each collection as far as the recall needs.  ``restricts`` are
    columns that datapoints carry as namespaces to filter by, where a table has them.
    """

    endpoint: str = "agent-search"
    machine_type: str = "e2-standard-2"
    min_replicas: int = 2
    max_replicas: int = 2
    shard_size: Literal["SHARD_SIZE_SMALL", "SHARD_SIZE_MEDIUM", "SHARD_SIZE_LARGE"] = (
        "SHARD_SIZE_SMALL"
    )
    distance: Literal["auto", "COSINE_DISTANCE", "DOT_PRODUCT_DISTANCE", "SQUARED_L2_DISTANCE"] = (
        "auto"
    )
    approximate_neighbours: int = 150
    leaf_vectors: int = 1000
    leaf_percent: int = 5
    restricts: tuple[str, ...] = ("agent_id",)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The agent API as Cloud Run serves it; the embedded cloud runs ``embedded://lib.api``."""

    service: str = "agent-api"
    image: str = "embedded://lib.api"
    min_instances: int = 1
    max_instances: int = 10
    concurrency: int = 80
    invoker: str = "allUsers"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The circuit breaker on the search path."""

    failure_rate_threshold: float = 50.0
    sliding_window_size: int = 20
    minimum_number_of_calls: int = 5
    wait_seconds_in_open_state: float = 1.0
    permitted_calls_in_half_open_state: int = 3


@dataclass(frozen=True, slots=True)
class CriteriaSettings:
    """The thresholds of the seven criteria, and how many samples each rests on.

    ``left_out`` names criteria, by number, that are not held: ["5"] for a source without vectors.
    """

    vector_search_p99_ms: float = 30.0
    vector_search_recall: float = 0.95
    vector_search_samples: int = 300
    api_p99_ms: float = 100.0
    api_error_rate: float = 0.0
    api_samples: int = 300
    workstation_start_seconds: float = 180.0
    workstation_cold_starts: int = 3
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an environment file can say, section by section."""

    target: Literal["auto", "embedded", "google"] = "auto"
    protected: bool = False
    project: ProjectSettings = ProjectSettings()
    network: NetworkSettings = NetworkSettings()
    source: SourceSettings = SourceSettings()
    alloydb: AlloyDBSettings = AlloyDBSettings()
    redis: RedisSettings = RedisSettings()
    workstations: WorkstationSettings = WorkstationSettings()
    data_migration: DataMigrationSettings = DataMigrationSettings()
    vectors: VectorSettings = VectorSettings()
    vertex: VertexSettings = VertexSettings()
    api: ApiSettings = ApiSettings()
    breaker: BreakerSettings = BreakerSettings()
    criteria: CriteriaSettings = CriteriaSettings()

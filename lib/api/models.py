"""The shapes of requests and answers, as the OpenAPI document shows them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lib.api.values import DIMENSIONS, KEY_LENGTH, LONGEST_TTL

LARGEST_PAGE = 200
LARGEST_K = 500

Component = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_TTL, allow_inf_nan=False, strict=True)]


class Problem(BaseModel):
    """An answer that is not a success."""

    status: int
    code: str
    detail: str
    request_id: str


class MemoryIn(BaseModel):
    """What is stored under a key."""

    model_config = ConfigDict(extra="forbid")

    value: Any = Field(description="Any JSON value.")
    ttl_seconds: Seconds | None = None


class Memory(BaseModel):
    """A stored memory; a higher version was written later."""

    key: str
    value: Any
    version: int
    updated_at: str
    expires_at: str | None


class MemoryPage(BaseModel):
    """Memories in the order of their keys."""

    items: list[Memory]
    next_cursor: str


class RowPage(BaseModel):
    """Rows as the database holds them."""

    items: list[dict[str, Any]]
    next_cursor: str


class SearchIn(BaseModel):
    """A query vector; ``collection`` may be left out where the dimensions fit one only."""

    model_config = ConfigDict(extra="forbid")

    collection: str = Field(default="", max_length=KEY_LENGTH)
    vector: list[Component] = Field(min_length=1, max_length=DIMENSIONS)
    k: int = Field(default=10, ge=1, le=LARGEST_K, strict=True)


class MatchOut(BaseModel):
    """A row near the query; the distance is null where the metric has none."""

    key: dict[str, Any]
    distance: float | None


class SearchOut(BaseModel):
    """The nearest rows, nearest first."""

    collection: str
    metric: str
    backend: str = Field(description="Who found them: alloydb, or vertex.")
    matches: list[MatchOut]


class CollectionOut(BaseModel):
    """A vector column that can be searched."""

    name: str
    kind: str
    dimensions: int
    method: str
    metric: str
    parameter: str
    value: str
    backend: str


class Health(BaseModel):
    """States of what the API stands on: ``up``, ``down``, or ``none`` where not configured."""

    status: str
    database: str
    redis: str

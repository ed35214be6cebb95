"""The life of a vector index by the ``aiplatform`` package; told nothing but where and who.

    python -m tests.localcloud.high_level PROJECT REGION [--api-endpoint HOST:PORT] [--rest]

The token is in the variable ``TOKEN``; without it, Application Default Credentials are taken.
Prints what it sees as JSON, and deletes all that it made.
"""

import argparse
import json
import os
import uuid
from typing import Any

from google.cloud import aiplatform
from google.oauth2.credentials import Credentials

DIMENSIONS = 4


def main() -> None:
    """Create an index and an endpoint, deploy, upsert, search, undeploy, delete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("region")
    parser.add_argument("--api-endpoint", metavar="HOST:PORT")
    parser.add_argument("--rest", action="store_true")
    options = parser.parse_args()
    token = os.environ.get("TOKEN")
    aiplatform.init(
        project=options.project, location=options.region, api_endpoint=options.api_endpoint,
        credentials=Credentials(token) if token else None,
        api_transport="rest" if options.rest else None,
    )  # fmt: skip
    print(json.dumps(lived(f"run_{uuid.uuid4().hex[:8]}")))


def lived(name: str) -> dict[str, Any]:
    """What an index and its endpoint show during their life."""
    index = aiplatform.MatchingEngineIndex.create_brute_force_index(
        display_name=name, dimensions=DIMENSIONS, distance_measure_type="SQUARED_L2_DISTANCE",
        index_update_method="STREAM_UPDATE", labels={"run": name},
    )  # fmt: skip
    endpoint = None
    try:
        endpoint = aiplatform.MatchingEngineIndexEndpoint.create(
            display_name=name, public_endpoint_enabled=True
        )
        endpoint.deploy_index(index=index, deployed_index_id=name)
        index.upsert_datapoints(
            [{"datapoint_id": f"p{n}", "feature_vector": [float(n), 0, 0, 1]} for n in range(5)]
        )
        found = endpoint.find_neighbors(
            deployed_index_id=name, queries=[[3.1, 0.0, 0.0, 1.0]], num_neighbors=2
        )
        index.remove_datapoints(datapoint_ids=["p3"])
        after = endpoint.find_neighbors(
            deployed_index_id=name, queries=[[3.1, 0.0, 0.0, 1.0]], num_neighbors=1
        )
        shown = aiplatform.MatchingEngineIndex(index.resource_name)
        listed = aiplatform.MatchingEngineIndex.list(filter=f"labels.run={name}")
        return {
            "nearest": [each.id for each in found[0]], "after": [each.id for each in after[0]],
            "listed": [each.display_name == name for each in listed],
            "deployed": [each.deployed_index_id == name for each in shown.deployed_indexes],
        }  # fmt: skip
    finally:
        if endpoint is not None:
            endpoint.delete(force=True)  # undeploys first
        index.delete()


if __name__ == "__main__":
    main()

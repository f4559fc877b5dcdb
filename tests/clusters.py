"""A Ray cluster on this machine. All that it opens listens on 127.0.0.1; import this before anything imports Ray."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

NODE: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 << 20}


@contextmanager
def head() -> Iterator[Any]:
    """A cluster of one node with one core."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


@contextmanager
def another_node(cluster: Any, **more: Any) -> Iterator[Any]:
    """A node beside the others, of which may be disposed inside."""
    node = cluster.add_node(**(NODE | more))
    cluster.wait_for_nodes()
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)

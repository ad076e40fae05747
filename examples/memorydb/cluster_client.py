"""Write and read keys on every shard of a cache in cluster mode, with nothing but what stands in its Secret.

    python cluster_client.py FOLDER PREFIX

FOLDER is where the Secret is mounted, PREFIX begins the keys that this user may write.
"""

import sys
from pathlib import Path

from redis.cluster import RedisCluster

from elasticache_iam.client import SecretFileCredentialProvider, stay_connected

KEYS = 64
"""Of all shards: two neighbours seldom share one."""


def connect(folder: Path) -> RedisCluster:
    """Return a cluster-aware client. It is told one endpoint, learns the others, and asks for the token at each.

    Each connection logs in again before the cache would cut it, 12 hours after its login.
    """
    private_ca = folder / "ca.crt"
    client = RedisCluster(
        host=(folder / "host").read_text(),
        port=int((folder / "port").read_text()),
        credential_provider=SecretFileCredentialProvider(folder),
        ssl=True,
        ssl_ca_certs=str(private_ca) if private_ca.exists() else None,
    )
    return stay_connected(client)


def main(folder: Path, prefix: str) -> None:
    """Write, read, compare, and say on how many nodes the keys were."""
    keys = [f"{prefix}{number}" for number in range(KEYS)]
    with connect(folder) as client:
        for key in keys:
            client.set(key, key)
        wrong = [key for key in keys if client.get(key) != key.encode()]
        nodes = {client.get_node_from_key(key).name for key in keys}
        client_name = client.acl_whoami(target_nodes=RedisCluster.RANDOM)
    if wrong:
        sys.exit(f"not as written: {', '.join(wrong)}")
    print(f"{len(keys)} keys written and read on {len(nodes)} nodes as {client_name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

#!/usr/bin/env bash
# Ray 2.60.0: a test cluster (ray.cluster_utils.Cluster) whose head was given a temp_dir of its own still writes its
# address to the default place, the file ray/ray_current_cluster under RAY_TMPDIR, TMPDIR or the system's temporary
# folder. If no Ray has run there yet, it fails with FileNotFoundError, since nothing makes the folder. If the folder is
# there, it writes over the address of another Ray of this user, and removes it when it shuts down; temp_dir has nothing.
#
# Expected was: whatever belongs to a cluster with a temp_dir is in that folder, as with `ray start --temp-dir`.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "ray==2.60.0"
cat >"$place/cluster.py" <<'PYTHON'
import os
import pathlib
import sys
import tempfile

default, own = (pathlib.Path(tempfile.mkdtemp(prefix="r", dir=sys.argv[1])) for _ in range(2))
os.environ |= {"RAY_TMPDIR": str(default), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
from ray.cluster_utils import Cluster

size = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
try:
    Cluster(initialize_head=True, head_node_args={**size, "temp_dir": str(own)})
except FileNotFoundError as error:
    print("new machine:", type(error).__name__, pathlib.Path(error.filename).relative_to(default))
address = default / "ray" / "ray_current_cluster"
address.parent.mkdir()
address.write_text("another cluster's address")
cluster = Cluster(initialize_head=True, head_node_args={**size, "temp_dir": str(own)})
print("other address kept:", address.read_text() == "another cluster's address")
print("address in temp_dir:", (own / "ray_current_cluster").exists())
cluster.shutdown()
print("other address there at the end:", address.exists())
PYTHON
short=$(mktemp -d /var/tmp/rXXXX) # the path of a socket has at most 107 bytes
trap 'rm -rf "$place" "$short"' EXIT
seen=$("$place/venv/bin/python" "$place/cluster.py" "$short" 2>/dev/null)
expected="new machine: FileNotFoundError ray/ray_current_cluster
other address kept: False
address in temp_dir: False
other address there at the end: False"
if [ "$seen" = "$expected" ]; then
    echo "SEEN: $(echo "$seen" | paste -sd ';')"
else
    echo "CHANGED: $(echo "$seen" | paste -sd ';')"
    exit 1
fi

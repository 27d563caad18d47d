"""
The Kubernetes manifest that is shipped, as the tests read it.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.paths import DOCS

MANIFEST = DOCS / "deploy" / "kubernetes.yaml"

OLDEST = "1.27"
"""
The oldest Kubernetes, by the first line of the manifest.
"""

RESOURCES: Mapping[str, Any] = {
    each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())
}
"""
Its resources, by their kinds.
"""

POD: Mapping[str, Any] = RESOURCES["Deployment"]["spec"]["template"]

(CONTAINER,) = POD["spec"]["containers"]

VARIABLES: dict[str, str] = {each["name"]: each["value"] for each in CONTAINER["env"]}
"""
The environment of the process.
"""

PORTS: dict[str, int] = {
    each["name"]: each["containerPort"] for each in CONTAINER["ports"]
}
"""
The ports of the process, by their names.
"""


def on_loopback(ports: Mapping[str, int]) -> dict[str, str]:
    """
    The environment of a process that listens as the manifest says, but on other ports
    of the loopback address.

    @param ports: by the names that the manifest gives them.
    """
    return {
        **VARIABLES,
        "TWISTED_ECHO_LISTEN": f"tcp:{ports['echo']}:interface=127.0.0.1",
        "TWISTED_ECHO_ADMIN": f"tcp:{ports['admin']}:interface=127.0.0.1",
    }

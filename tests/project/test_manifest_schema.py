"""
docs/deploy/kubernetes.yaml is valid, by the schemas of Kubernetes.
"""

from copy import deepcopy
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support.manifest import OLDEST, RESOURCES

try:
    import kubernetes_validate
except ImportError:
    kubernetes_validate = None


@skipIf(
    kubernetes_validate is None, "kubernetes-validate, of the extra lint, is missing"
)
class SchemaTests(SynchronousTestCase):
    """
    What Kubernetes itself says of the manifest, by its schemas.
    """

    def validate(self, resource: Any) -> None:
        for each in (OLDEST, kubernetes_validate.latest_version()):
            kubernetes_validate.validate(resource, each, strict=True)

    def test_valid(self) -> None:
        """
        Every resource is valid, for the oldest version and for the newest.
        """
        self.assertEqual(
            set(RESOURCES),
            {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"},
        )
        for each in RESOURCES.values():
            self.validate(each)

    def test_refused(self) -> None:
        """
        A field that does not exist would be found.
        """
        for each in RESOURCES.values():
            wrong = deepcopy(each)
            wrong["spec"]["unknown"] = True
            with self.assertRaises(kubernetes_validate.ValidationError):
                self.validate(wrong)

"""
L{twisted_echo.session.starttls.diversion} and
L{twisted_echo.session.starttls.diverted_output}: what was replaced on an object is
restored.
"""

import gc
from typing import Any
from unittest import TestCase
from weakref import ref

from twisted_echo.session.starttls.diversion import divert, restore
from twisted_echo.session.starttls.diverted_output import DivertedOutput


class Greeter:
    def greet(self) -> str:
        return "class"

    def leave(self) -> str:
        return "class"


def other() -> str:
    return "other"


def own() -> str:
    return "own"


class DivertTests(TestCase):
    def test_classMethod(self) -> None:
        """
        Afterwards the method is the class's again, and the object has none of its own.
        """
        greeter = Greeter()
        methods = {"greet": other}
        before = divert(greeter, methods)
        self.assertEqual((greeter.greet(), greeter.leave()), ("other", "class"))
        restore(greeter, methods, before)
        self.assertEqual(greeter.greet(), "class")
        self.assertEqual(vars(greeter), {})

    def test_ownMethod(self) -> None:
        """
        What the object had itself comes back.
        """
        greeter: Any = Greeter()
        greeter.greet = own
        methods = {"greet": other}
        restore(greeter, methods, divert(greeter, methods))
        self.assertIs(greeter.greet, own)

    def test_replacedSince(self) -> None:
        """
        What has taken the place of a replaced method stays.
        """
        greeter: Any = Greeter()
        methods = {"greet": other}
        before = divert(greeter, methods)
        greeter.greet = own
        restore(greeter, methods, before)
        self.assertIs(greeter.greet, own)

    def test_boundMethod(self) -> None:
        """
        Bound methods are made again each time they are looked up, and restored all the
        same. A second call does nothing.
        """
        greeter, diverter = Greeter(), Greeter()
        divert(greeter, {"greet": diverter.leave})
        restore(greeter, {"greet": diverter.leave})
        restore(greeter, {"greet": diverter.leave})
        self.assertEqual(vars(greeter), {})


class Transport:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.calls.append(data)

    def unregisterProducer(self) -> None:
        self.calls.append("unregister")


class Layer:
    def __init__(self, transport: Transport) -> None:
        self.calls: list[object] = []
        self.below = DivertedOutput(
            transport, self.calls.append, self.calls.append, self.unregister
        )

    def unregister(self) -> None:
        self.calls.append("unregister")


class DivertedOutputTests(TestCase):
    def test_diverted(self) -> None:
        """
        Whoever has kept the transport reaches the layer, and the layer the transport.
        """
        transport = Transport()
        layer = Layer(transport)
        transport.write(b"1")
        transport.writeSequence([b"2"])
        transport.unregisterProducer()
        self.assertEqual(layer.calls, [b"1", [b"2"], "unregister"])
        self.assertEqual(transport.calls, [])
        layer.below.write(b"3")
        layer.below.unregisterProducer()
        self.assertEqual(transport.calls, [b"3", "unregister"])

    def test_restored(self) -> None:
        """
        Nothing refers to the layer then, so that it goes without the garbage collector.
        """
        transport = Transport()
        layer = Layer(transport)
        layer.below.restore()
        transport.write(b"1")
        self.assertEqual(transport.calls, [b"1"])
        weak = ref(layer)
        gc.disable()
        self.addCleanup(gc.enable)
        del layer
        self.assertIsNone(weak())

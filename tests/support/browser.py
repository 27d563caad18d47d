"""
A real Chromium without a window, driven over its DevTools protocol.

The protocol goes over two pipes (C{--remote-debugging-pipe}): JSON objects, each with a
zero byte behind it. So no library is needed, and no port.

What must hold: the browser has a folder of its own, asks nobody but the page's server,
and is gone when the test ends.
"""

import json
import os
import select
import shutil
import time
from typing import Any

from tests.support.processes import DEADLINE, Command, Test, new_folder

__all__ = ["CHROMIUM", "Browser"]

CHROMIUM = shutil.which("chromium")

_LAUNCHER = """\
import fcntl, os, sys
# Chromium reads from 3 and writes to 4, which may be the other ends as yet.
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in os.environ["PIPES"].split()]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""
Becomes the command of its arguments, with two pipes where Chromium wants them.
"""

_OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-breakpad", "--disable-crash-reporter", "--no-first-run"),
    *("--disable-component-update", "--disable-sync", "--no-default-browser-check"),
)


class Browser:
    """
    One page in one browser.

    @ivar messages: what the page has written to the console, and what the browser has
        to say of it there: errors, refused resources, broken policies.
    @ivar failures: the addresses of what could not be loaded.
    """

    def __init__(self, test: Test) -> None:
        assert CHROMIUM is not None
        self.messages: list[str] = []
        self.failures: list[str] = []
        self._data = b""
        self._loads = 0
        self._number = 0
        self._session: str | None = None
        folder = new_folder(test)
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # The tests may run as root, for which Chromium has no sandbox.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._command = Command(
            test,
            [CHROMIUM, *_OPTIONS, *sandbox, f"--user-data-dir={folder}"],
            folder=folder,
            env={"PIPES": f"{theirs_in} {theirs_out}", "HOME": str(folder)},
            launcher=_LAUNCHER,
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        test.addCleanup(self._close)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in "Page", "Runtime", "Log", "Network", "Accessibility":
            self.call(f"{domain}.enable")

    def _close(self) -> None:
        # It ends, with all of its processes, when its pipes do.
        os.close(self._write)
        os.close(self._read)
        self._command.wait()

    # The protocol

    def call(self, method: str, **parameters: Any) -> Any:
        """
        Call a method of the protocol, and wait for its result.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self._handle(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> Any:
        deadline = time.monotonic() + DEADLINE
        while b"\0" not in self._data:
            left = max(0.0, deadline - time.monotonic())
            chunk = b""
            if select.select([self._read], [], [], left)[0]:
                chunk = os.read(self._read, 1 << 16)
            if not chunk:
                raise self._command.report("no answer")
            self._data += chunk
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)

    def _handle(self, event: dict[str, Any]) -> None:
        given = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.messages.append(given["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.messages.append(str([each.get("value") for each in given["args"]]))
            case "Runtime.exceptionThrown":
                self.messages.append(str(given["exceptionDetails"]))
            case "Network.responseReceived":
                response = given["response"]
                if response["status"] != 200 and response["url"].startswith("http"):
                    self.failures.append(response["url"])
            case "Page.loadEventFired":
                self._loads += 1

    # The page

    def open(self, url: str) -> None:
        """
        Open a page, and wait until it is loaded.
        """
        self._loads = 0
        self.call("Page.navigate", url=url)
        self.wait_for_load()

    def wait_for_load(self) -> None:
        """
        Wait until a page is loaded once more than was waited for before.
        """
        while not self._loads:
            self._handle(self._receive())
        self._loads -= 1

    def evaluate(self, expression: str) -> Any:
        """
        The value of an expression of JavaScript; an element counts as an empty object.
        """
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_until(self, expression: str) -> None:
        """
        Wait until an expression of JavaScript is true.
        """
        deadline = time.monotonic() + DEADLINE
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise AssertionError(f"{expression} did not come true:\n{text}")
            time.sleep(0.05)

    def view(self, width: int, *, dark: bool = False) -> None:
        """
        Look at it by a window so many pixels wide, light or dark.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def names(self) -> dict[str, list[str]]:
        """
        The names that a screen reader says, by the roles of what it says them of.
        """
        found: dict[str, list[str]] = {}
        for node in self.call("Accessibility.getFullAXTree")["nodes"]:
            if not node["ignored"]:
                name = str(node.get("name", {}).get("value", ""))
                found.setdefault(node["role"]["value"], []).append(name)
        return found

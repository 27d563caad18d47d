"""
The log of the package: events as JSON, the values in them, and a limit on how many are
logged.

Packages later in the package map may import this one. Begin with
L{twisted_echo.logs.json_observer}, which C{twistd --logger=twisted_echo.logs.json}
uses.
"""

from twisted_echo.logs.json_observer import json

__all__ = ["json"]

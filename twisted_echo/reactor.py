"""
The eager reactor on epoll under its public name, for C{--reactor=eager} and
C{install()}.
"""

from twisted_echo.eager.epoll_reactor import EagerEPollReactor, UnfitTwisted, install

__all__ = ["EagerEPollReactor", "UnfitTwisted", "install"]

"""
Make the sessions of a factory, and nothing else.

What must hold: C{buildProtocol}, also a subclass's, returns a new session of this
factory, or None. The limits are checked before, and each refused connection is counted
once.
"""

from collections.abc import Callable
from functools import partial, wraps
from inspect import iscoroutinefunction, signature
from typing import Any, TypeAlias, TypeVar

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.session import Session

__all__ = ["SessionMaker"]

# (Twisted bounds its own by a protocol whose `factory` is any factory.)
_S = TypeVar("_S", bound=Any)


def _checkProtocol(protocol: object) -> None:
    """
    Check that something makes sessions, as far as that can be known before it does.

    @raise TypeError: if it is a class of another kind, or can make nothing.
    """
    made = protocol
    while isinstance(made, partial):
        made = made.func
    if not isinstance(made, type):
        if not callable(made):
            raise TypeError(
                f"protocol must be a class of Session, or make one, got {protocol!r}"
            )
    elif not issubclass(made, Session):
        name = made.__name__
        raise TypeError(
            f"{name} is not a Session, so its connections could not be tracked; put"
            f" Session before it: class {name}Session(Session, {name})"
        )
    elif made.__hash__ is not _BY_IDENTITY:
        raise TypeError(f"{made.__name__} {_HASHED}")


def _checkCall(protocol: Callable[..., object]) -> None:
    """
    Refuse what cannot be called as a factory does it, as far as that can be seen.

    @raise TypeError: if it needs arguments.
    """
    try:
        parameters = signature(protocol)
    except (TypeError, ValueError):
        # It is of a kind that does not tell.
        return
    try:
        parameters.bind()
    except TypeError as error:
        raise TypeError(
            f"protocol is called without arguments, but for {protocol!r} that is"
            f" {error}; use partial, such as partial(MySession, argument), or override"
            " makeSession"
        ) from None


# That by which a dictionary tells the instances of a class apart.
_BY_IDENTITY: object = object.__hash__
_HASHED = (
    "must not have a __hash__ of its own, for sessions are told apart by being"
    " themselves, however alike they are"
)


def _checked(build: "_Build") -> "_Build":
    """
    Make a C{buildProtocol} check the limits before it runs, and that its result is a
    session which the factory can record.
    """

    @wraps(build)
    def buildProtocol(
        self: "SessionMaker[Any]", addr: IAddress | None
    ) -> Session | None:
        if type(self).buildProtocol is not buildProtocol:
            # The outermost override does it.
            return build(self, addr)
        return self._makeRecorded(addr, partial(build, self, addr))

    return buildProtocol


_Build: TypeAlias = "Callable[[SessionMaker[Any], IAddress | None], Session | None]"


class SessionMaker(Factory[_S]):
    """
    A base of factories whose protocols are sessions.
    """

    # Whether buildProtocol, or makeSession, is a subclass's, which may want no
    # `protocol`.
    _buildsItself = False
    _makesItself = False

    def __init__(self) -> None:
        if self.protocol is not None:
            self._check(self.protocol)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owner = next(each for each in cls.__mro__ if "buildProtocol" in vars(each))
        for name in ("buildProtocol", "makeSession"):
            if iscoroutinefunction(getattr(cls, name)):
                raise TypeError(
                    f"{cls.__name__}.{name} must be a plain function, got one that is"
                    " async, which never runs"
                )
        cls._makesItself = cls.makeSession is not SessionMaker.makeSession
        if owner is cls or not issubclass(owner, SessionMaker):
            # A mix-in has it, in the second case.
            cls.buildProtocol = _checked(cls.buildProtocol)  # type: ignore
            cls._buildsItself = True

    @classmethod
    def forProtocol(
        cls, protocol: Callable[..., _S], *args: Any, **kwargs: Any
    ) -> "SessionMaker[_S]":
        """
        Make a factory whose sessions are of one class.

        @param protocol: a class of L{Session}, or something that makes one.
        @raise TypeError: if it is a class of another kind, or needs arguments.
        """
        cls._check(protocol)
        factory: Any = super().forProtocol(protocol, *args, **kwargs)
        return factory  # type: ignore[no-any-return]

    def checkProtocol(self) -> None:
        """
        Check what makes the sessions, as far as that can be known before it does.

        @raise TypeError: if it makes none.
        """
        isWanted = not (self._buildsItself or self._makesItself)
        if isWanted or self.protocol is not None:
            self._check(self.protocol)

    @classmethod
    def _check(cls, protocol: Callable[..., object] | None) -> None:
        _checkProtocol(protocol)
        if protocol is not None and not (cls._buildsItself or cls._makesItself):
            _checkCall(protocol)

    def refuses(self, address: IAddress | None) -> bool:
        """
        Tell whether a connection is one too many; if so, count it.
        """
        raise NotImplementedError

    def countRefused(
        self, address: IAddress | None, reason: EndReason, detail: str = ""
    ) -> None:
        """
        Count a connection that does not become a session, and log it.
        """
        raise NotImplementedError

    def logFailure(self, text: str, *, event: str) -> None:
        """
        Log the exception that is being handled.
        """
        raise NotImplementedError

    # (Any: subclasses of embedders name the kind of address that they expect.)
    def buildProtocol(self, addr: Any) -> _S | None:
        """
        Make a session for a connection from C{addr}, or refuse it. One that cannot be
        made is logged, and counted as refused.
        """
        # (A subclass's has the limits obeyed already, before it came to this.)
        if self._buildsItself:
            return self.makeSession()
        return self._makeRecorded(addr, self.makeSession)

    def makeSession(self) -> _S | None:
        """
        Make a session. Override this to set it up, or to make it in another way.

        @return: a new one. None refuses the connection, as of C{buildProtocol}; call
            L{countRefused} to have that counted.
        """
        assert self.protocol is not None
        protocol = self.protocol()
        if isinstance(protocol, Session):
            # Whatever it has been until now, as in Twisted.
            factory: Any = self
            protocol.factory = factory
        return protocol

    def _makeRecorded(
        self, address: IAddress | None, make: "Callable[[], _S | None]"
    ) -> _S | None:
        """
        Make a protocol that will be recorded here; count any other as refused, and a
        connection that is one too many.

        @param make: makes it.
        """
        try:
            if self.refuses(address):
                return None
            protocol = make()
        except BaseException:
            # (Of whatever kind: Twisted's ports log it, and leave the connection open.)
            self.logFailure("cannot make a session", event="session-make-failed")
            self.countRefused(address, EndReason.ERROR)
            return None
        if protocol is None:
            return None
        if not isinstance(protocol, Session):
            problem = ", which is not a Session"
        elif type(protocol).__hash__ is not _BY_IDENTITY:
            problem = f", which {_HASHED}"
        else:
            factory: Any = self
            if protocol.factory is None:
                protocol.factory = factory
            if protocol.factory is factory and protocol.transport is None:
                return protocol
            problem = " that another factory, or connection, has already"
        made = f"{type(self).__name__} has made a {type(protocol).__name__}"
        self.countRefused(address, EndReason.ERROR, made + problem)
        return None

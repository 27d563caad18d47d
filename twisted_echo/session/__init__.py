"""
One connection's life from its first byte to its last, and the factory that records all
of them.

  - The session: L{session<twisted_echo.session.session>}, its
    L{state<twisted_echo.session.state>}, and what pauses its input.
  - The record of all sessions: L{factory<twisted_echo.session.factory>}, with its
    counters, its log and its statistics.
  - L{ends<twisted_echo.session.ends>}: how a session ends, and why.
  - L{bounds<twisted_echo.session.bounds>}: limits, timeouts, memory.
  - L{answers<twisted_echo.session.answers>}: answers that take time.
  - L{starttls<twisted_echo.session.starttls>}: TLS that begins in the middle.

It does not know where connections come in. Packages later in the package map may
import this package. Begin with L{twisted_echo.session.session}, then read
L{twisted_echo.session.factory}.
"""

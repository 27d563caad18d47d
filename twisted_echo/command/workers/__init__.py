"""
Many processes that serve one service: C{--workers N}.

Used by: L{twisted_echo.tap}, when more than one process is asked for.

In the parent: L{binding<twisted_echo.command.workers.binding>} opens the sockets,
L{monitor<twisted_echo.command.workers.monitor>} keeps a
L{process<twisted_echo.command.workers.process>} for each worker, and
L{supervisor<twisted_echo.command.workers.supervisor>} looks like the one service that
they are, with L{inquiry<twisted_echo.command.workers.inquiry>} and
L{rest<twisted_echo.command.workers.rest>}. In each worker:
L{worker<twisted_echo.command.workers.worker>}, on sockets that are
L{adopted<twisted_echo.command.workers.adopted>}. Between them: the
L{channel<twisted_echo.command.workers.channel>}, and the L{relay
<twisted_echo.command.workers.relay>} of the log.
"""

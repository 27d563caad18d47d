"""
Many processes that serve one service: C{--workers N}.

In the parent, L{supervisor<twisted_echo.command.workers.supervisor>} looks like the one
service that they are:

  - L{binding<twisted_echo.command.workers.binding>} opens the sockets, and
    L{shares<twisted_echo.command.workers.shares>} says who accepts from which;
  - L{monitor<twisted_echo.command.workers.worker_monitor>} keeps a
    L{process<twisted_echo.command.workers.worker_process>} for each worker:
    L{launch<twisted_echo.command.workers.launch>} starts it, and
    L{watch<twisted_echo.command.workers.watch>} finds out if it hangs;
  - L{inquiry<twisted_echo.command.workers.inquiry>} asks all of them;
  - L{rest<twisted_echo.command.workers.backlog_drain>} deals with what they leave at a
    stop.

In each worker: L{worker<twisted_echo.command.workers.worker>}, on sockets that are
L{adopted<twisted_echo.command.workers.adopted>}. Between them: the
L{channel<twisted_echo.command.workers.channel>}, and the L{relay
<twisted_echo.command.workers.relay>} of the log.

Only L{twisted_echo.command} and L{twisted_echo.tap} may import this package. Begin with
L{twisted_echo.command.workers.supervisor}.
"""

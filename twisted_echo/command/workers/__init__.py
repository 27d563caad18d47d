"""
Many processes that serve one service: C{--workers N}.

In the parent, L{supervisor<twisted_echo.command.workers.supervisor>} looks like the one
service that they are:

  - L{binding<twisted_echo.command.workers.binding>} opens the sockets, and
    L{partitions<twisted_echo.command.workers.partitions>} says which worker accepts
    from which;
  - L{worker_monitor<twisted_echo.command.workers.worker_monitor>} keeps a
    L{worker_process<twisted_echo.command.workers.worker_process>}, in one of the
    L{states<twisted_echo.command.workers.worker_state>}, for each worker:
    L{launch<twisted_echo.command.workers.launch>} starts it,
    L{hang_detector<twisted_echo.command.workers.hang_detector>} finds out if it hangs,
    and L{kill_timers<twisted_echo.command.workers.kill_timers>} ends one that does not
    end by itself;
  - L{aggregate_status<twisted_echo.command.workers.aggregate_status>} has the numbers
    of all of them;
  - L{workers_stop<twisted_echo.command.workers.workers_stop>} is their stop, and
    L{unserved_backlogs<twisted_echo.command.workers.unserved_backlogs>} serves what
    they leave then.

In each worker: L{worker<twisted_echo.command.workers.worker>}, on sockets that are
L{adopted<twisted_echo.command.workers.adopted>}. Between them: the
L{channel<twisted_echo.command.workers.channel>}, and the L{relay
<twisted_echo.command.workers.log_relay>} of the log.

Only L{twisted_echo.command} and L{twisted_echo.tap} may import this package. Begin with
L{twisted_echo.command.workers.supervisor}.
"""

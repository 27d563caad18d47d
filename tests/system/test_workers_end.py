"""
How C{twistd echo --workers N} ends.
"""

import os
import signal

from tests.support.marks import slow
from tests.support.processes import (
    is_refused,
    read_to_end,
    round_trip,
    wait_until,
)
from tests.support.workers_case import EXEC_IN_GROUP, WorkersTestCase, kill, marked


class EndTests(WorkersTestCase):
    """
    However it ends, every process does.
    """

    def test_interrupt(self) -> None:
        """
        A terminal sends SIGINT to all processes: they end as if it were for the parent
        alone.
        """
        server, service = self.start(launcher=EXEC_IN_GROUP)
        clients = self.clients_of_each(server, service)
        os.killpg(server.process.pid, signal.SIGINT)
        for each in clients.values():
            for client in each:
                self.assertEqual(read_to_end(client), b"")
                client.close()
        self.assertEqual(server.wait(), -signal.SIGINT, server.report("ended"))
        self.assertNotIn("Traceback", server.stdout)
        self.assertEqual(marked(service.mark), {})

    def test_termToAll(self) -> None:
        """
        So does systemd with SIGTERM. It is one order, however often a worker hears it:
        clients may finish.
        """
        server, service = self.start("--drain", "60", launcher=EXEC_IN_GROUP)
        clients = self.clients_of_each(server, service)
        os.killpg(server.process.pid, signal.SIGTERM)
        wait_until(lambda: is_refused(server.address))
        for pid in service.pids.values():
            kill(pid, signal.SIGTERM)
        for each in clients.values():
            for client in each:
                self.assertEqual(round_trip(client, b"still\n"), b"still\n")
                client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(marked(service.mark), {})

    def test_parentIsKilled(self) -> None:
        """
        Workers whose parent has died drain and end.
        """
        server, service = self.start()
        clients = self.clients_of_each(server, service)
        server.process.kill()
        server.wait()
        for each in clients.values():
            for client in each:
                self.assertEqual(read_to_end(client), b"")
                client.close()
        wait_until(lambda: not marked(service.mark))
        self.assertTrue(is_refused(server.address))

    def test_queueIsServed(self) -> None:
        """
        Who waits in a backlog at the stop gets end-of-file, not a reset, nor does he
        wait for the end of the workers.
        """
        server, service = self.start()
        for pid in service.pids.values():
            kill(pid, signal.SIGSTOP)
        clients = [self.connect(server.address) for _ in range(50)]
        for client in clients:
            client.sendall(b"hello\n")
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            self.assertIn(read_to_end(client), (b"", b"hello\n"))
            client.close()
        for pid in service.pids.values():
            kill(pid, signal.SIGCONT)
        self.assertEqual(server.wait(), -signal.SIGTERM, server.report("ended"))
        self.assertEqual(marked(service.mark), {})

    @slow
    def test_workerHangs(self) -> None:
        """
        A worker that does not end is killed.
        """
        server, service = self.start("--abort-after", "0.1")
        kill(service.pids[0], signal.SIGSTOP)
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assertEqual(marked(service.mark), {})

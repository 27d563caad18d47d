"""
An open loop: when each line is due, whatever the server does.

Line C{k} of all is due C{k / rate} seconds after the start, and the connections
take turns, those of other processes included. A line that cannot be sent in time,
because this program is late or its connection is blocked, stays due from when it
was due, and so the latency of a server that stalls is not hidden.

Pure; the clock is the caller's.
"""

SECOND = 10**9


class Schedule:
    """
    The due times of one process's connections.

    @ivar step: nanoseconds between two lines of one connection.
    """

    def __init__(
        self, numbers: range, connections: int, rate: float, start: int
    ) -> None:
        self._numbers = numbers
        self._gap = SECOND / rate
        self._connections = connections
        self.start = start
        self.step = round(self._gap * connections)
        self._turn = 0

    def first_due(self, number: int) -> int:
        """
        When the first line of a connection is due.
        """
        return self.start + round(number * self._gap)

    @property
    def next_due(self) -> int:
        """
        When the next line of any connection is due.
        """
        lap, place = divmod(self._turn, len(self._numbers))
        return self.first_due(self._numbers[place]) + lap * self.step

    def due_by(self, now: int) -> dict[int, int]:
        """
        The lines that have come due since the last call, by connection.
        """
        # Whole laps at once: a schedule may be far behind.
        laps = (now - self.next_due) // self.step
        due = dict.fromkeys(self._numbers, laps) if laps > 0 else {}
        self._turn += sum(due.values())
        while self.next_due <= now:
            number = self._numbers[self._turn % len(self._numbers)]
            due[number] = due.get(number, 0) + 1
            self._turn += 1
        return due

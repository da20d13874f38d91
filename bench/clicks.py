"""Whether a server that counts clicks has counted exactly the redirects that a run received; a run in which it has not is void."""

import time
import typing

# Longer than a proxy waits before it writes clicks down (`[clicks] sync_ms`, at most a second).
STILL_S = 1.2
EVERY_S = 0.2
# A server with its core to itself writes at once; one that shares it with ten thousand connections being closed may not.
GIVE_UP_S = 20.0


class Clicks:
    """What one server counts during one run. `counted` tells all clicks since its start, `dropped` those it says it lost."""

    def __init__(self, counted: typing.Callable[[], int], dropped: typing.Callable[[], int]):
        self.counted, self.dropped = counted, dropped
        # What was asked before the run, to see that the server answers, is not to fall into it.
        self.before, self.dropped_before = self._still(), dropped()

    def _still(self, at_least: int = 0) -> int:
        """The count once it does not change any more; `at_least` is waited for."""
        begun = changed = time.monotonic()
        last = self.counted()
        while True:
            time.sleep(EVERY_S)
            now, count = time.monotonic(), self.counted()
            if count != last:
                last, changed = count, now
            if now - begun > GIVE_UP_S or (now - changed >= STILL_S and last >= at_least):
                return last

    def void(self, received: int, under_way: int = 0) -> str | None:
        """Why the run does not count. `under_way`: requests whose answers the generator may not have read when it ended."""
        counted = self._still(self.before + received) - self.before
        dropped = self.dropped() - self.dropped_before
        if dropped:
            return f"{dropped} clicks were dropped"
        if not received <= counted <= received + under_way:
            return f"{counted} clicks were counted, {received} redirects received"
        return None

"""How far the reader of a stream may run ahead of its consumer."""

import threading


class Room:
    """How much the reader may run ahead, in records and in characters, so that memory stays constant."""

    def __init__(self, records: int, characters: int) -> None:
        self.records, self.characters = records, characters
        self.changed = threading.Condition()
        self.closed = False

    def take(self, weight: int) -> bool:
        """Wait for room for one more record; False when the stream has been closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or (self.records > 0 and self.characters > 0))
            self.records -= 1
            self.characters -= weight
            return not self.closed

    def give(self, records: int, weight: int) -> None:
        """Free the room of records that went into a window."""
        with self.changed:
            self.records += records
            self.characters += weight
            self.changed.notify()

    def close(self) -> None:
        """Wake the reader for good."""
        with self.changed:
            self.closed = True
            self.changed.notify()

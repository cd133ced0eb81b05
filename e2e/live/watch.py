"""Looks every tenth of a second what an agent holds and whether it says that it is ready, and keeps all that it saw."""

import dataclasses
import threading
import time

from firewall import AgentClient, Failed


@dataclasses.dataclass
class Look:
    """What the agent held at a moment between two times, in seconds."""
    before: float
    after: float
    instance: str
    # Whether it said so before it was asked what it holds.
    ready: bool
    epoch: int
    # Target → seconds left.
    held: dict

    def end(self, target):
        """When the ban ends that it held then."""
        return (self.before + self.after) / 2 + self.held[target]


class Watch(threading.Thread):
    """A thread that looks until it is stopped. What can't be reached holds nothing that could be seen."""

    def __init__(self, agent, every=0.1):
        super().__init__(name=f"watch {agent.host}", daemon=True)
        self.agent, self.every = agent, every
        self.looks = []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set():
            try:
                with self.agent.client(seconds=2) as client:
                    while not self.ended.wait(self.every):
                        status = client.status()
                        before = time.time()
                        held = {target: left / 1000 for target, left in client.held().items()}
                        self.looks.append(Look(before, time.time(), status.instance, status.ready, status.epoch, held))
            except (OSError, EOFError, Failed, AgentClient.errors()):
                self.ended.wait(0.02)

    def newest(self, since):
        """The newest look that began after a moment."""
        look = self.looks[-1] if self.looks else None
        return look if look and look.before >= since else None

    def stop(self):
        self.ended.set()
        self.join()

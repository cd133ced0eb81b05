"""Spreads a made log over the partitions of a topic at its own pace, in a process of its own."""

import multiprocessing
import random
import time

from made_log import stamp

TICK = 0.01


def produce(brokers, topic):
    """A function that hands a line to a partition, and one that waits until all has arrived."""
    from confluent_kafka import Producer

    producer = Producer({
        "bootstrap.servers": brokers,
        # What is sent again after an answer that got lost mustn't count twice.
        "enable.idempotence": True,
        "linger.ms": 5,
        "queue.buffering.max.messages": 4_000_000,
        "queue.buffering.max.kbytes": 1_000_000,
        "delivery.report.only.error": True,
        # A broker that is away is part of some tests.
        "log_level": 0,
    })
    lost = []

    def send(line, partition):
        producer.produce(topic, line, partition=partition, on_delivery=lambda error, _: lost.append(error))

    def finish(seconds):
        waiting = producer.flush(seconds)
        if waiting or lost:
            raise RuntimeError(f"{waiting} lines didn't reach Kafka, {len(lost)} failed: {lost[:3]}")

    return send, lambda: producer.poll(0), finish


class Spread(multiprocessing.get_context("fork").Process):
    """Sends each line to a random partition when its time has come, the first second being `begin`; what is over by now
    at once. A `late` partition gets its lines so many seconds after their time."""

    def __init__(self, made, brokers, topic, begin, seed, partitions=8, late=None):
        super().__init__(name=f"spread {topic}", daemon=True)
        self.made, self.brokers, self.topic, self.begin = made, brokers, topic, begin
        self.seed, self.partitions = seed, partitions
        self.late, self.late_by = late or (None, 0)

    def places(self):
        """A partition for each line."""
        return [byte % self.partitions for byte in random.Random(f"spread {self.seed}").randbytes(len(self.made.lines))]

    def ends(self):
        """When all is sent."""
        return self.begin + self.made.seconds + self.late_by

    def run(self):
        send, serve, finish = produce(self.brokers, self.topic)
        places, lines = self.places(), self.made.lines
        orders = [[n for n in range(len(lines)) if (places[n] == self.late) == late] for late in (False, True)]
        delays, next_ones = (0, self.late_by), [0, 0]
        while any(next_ones[which] < len(orders[which]) for which in (0, 1)):
            for which in (0, 1):
                until = time.time() - self.begin - delays[which]
                order, n = orders[which], next_ones[which]
                while n < len(order) and lines[order[n]][0] <= until:
                    at, before, behind = lines[order[n]]
                    send(before + stamp(self.begin + int(at)) + behind, places[order[n]])
                    n += 1
                next_ones[which] = n
            serve()
            time.sleep(TICK)
        finish(60)

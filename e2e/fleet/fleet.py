"""A fleet on this machine: real Kafka, ZooKeeper and MariaDB, workers and agents as processes of their own, and looks at
all of them from outside.
"""

import importlib.util
import json
import pathlib
import shutil
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "live")]
sys.dont_write_bytecode = True

import firewall  # noqa: E402
import servers  # noqa: E402
from firewall import MKEY, AgentClient, Controlled, Program, free_port  # noqa: E402
from skips import skip  # noqa: E402

PACKAGES = ("thrift", "confluent_kafka", "pymysql", "kazoo")
ROLES = ("match", "analyse")
# Kafka and ZooKeeper take a silent worker for dead after so many seconds.
SESSION = 6


def missing():
    """Why a fleet can't be run here, or None."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        return f"Python's packages {', '.join(absent)} aren't installed"
    if not shutil.which("thrift"):
        return "the Thrift compiler isn't installed"
    return None


def judged(name, args, play):
    """Plays a test with servers of its own: `play(home, servers)` gives the problems. Gives the exit code."""
    if reason := missing():
        return skip(reason)

    def with_logs(home):
        problems = True
        try:
            problems = list(play(home, own))
            return problems
        finally:
            if problems or args.keep:
                own.copy_logs(home / "servers")

    try:
        with servers.Servers.own(name) as own:
            return firewall.judged(f"{name}, seed {args.seed}" if "seed" in args else name, args.keep, with_logs)
    except servers.NotInstalled as error:
        return skip(str(error))


class Places:
    """Where the servers are."""

    def __init__(self, servers, ensemble=False):
        self.servers = servers
        self.kafka = servers.up("kafka")
        self.mysql = urllib.parse.urlsplit(servers.up("mariadb"))
        self.zookeeper = servers.up("zookeeper3" if ensemble else "zookeeper")

        from confluent_kafka.admin import AdminClient

        # A broker that is away is part of tests.
        self.admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0, "reconnect.backoff.max.ms": 500})

    def topic(self, name, partitions=8):
        from confluent_kafka.admin import NewTopic

        for made in self.admin.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result(30)

    def partitions(self, topic):
        """How many a topic has."""
        return len(self.admin.list_topics(topic, 5).topics[topic].partitions)

    def shares(self, group):
        """How many partitions of its one topic each member of a consumer group has."""
        found = self.admin.list_groups(group, 5)
        return [share(member.assignment) for each in found for member in each.members]

    def keeper(self):
        """A connected client of ZooKeeper."""
        from kazoo.client import KazooClient

        client = KazooClient(hosts=self.zookeeper, timeout=10)
        client.start(timeout=30)
        return client


def share(assignment):
    """How many partitions there are in a member's assignment, as Kafka's consumer protocol writes it: a version, then
    each topic's name and its partitions."""
    topics, count, at = int.from_bytes(assignment[2:6]), 0, 6
    for _ in range(topics):
        at += 2 + int.from_bytes(assignment[at:at + 2])
        partitions = int.from_bytes(assignment[at:at + 4])
        count, at = count + partitions, at + 4 * (1 + partitions)
    return count


class Database:
    """A database of MariaDB's, made anew."""

    def __init__(self, places, name):
        self.place, self.name, self.connection = places.mysql, name, None
        self.rows(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4", database=None)

    def connect(self, database):
        import pymysql

        return pymysql.connect(host=self.place.hostname, port=self.place.port, user=self.place.username,
                               password=self.place.password, database=database, autocommit=True, connect_timeout=5,
                               read_timeout=30)

    def rows(self, query, *values, database=""):
        """What a query finds; nothing where a table isn't there yet."""
        import pymysql

        connection = self.connect(self.name if database == "" else database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values or None)
                return cursor.fetchall()
        except pymysql.err.ProgrammingError as error:
            if error.args[0] == pymysql.constants.ER.NO_SUCH_TABLE:
                return []
            raise
        finally:
            connection.close()


class Worker(Controlled):
    """`ccfirewall run` with a role, and a state folder of its own."""

    def __init__(self, fleet, machine, role):
        self.machine, self.role = machine, role
        name = f"{fleet.name}{machine}-{role}"
        home = fleet.home / name
        home.mkdir()
        (home / "ccfirewall.toml").write_text(fleet.configuration(name, role))
        super().__init__(name, [fleet.binary, "run", "--config", home / "ccfirewall.toml"], home / "log", home / "state")


class Agent(Program):
    """`ccfirewall agent`, registered in ZooKeeper, on a loopback address of its own."""

    def __init__(self, fleet, host):
        self.host, self.port = host, free_port()
        self.address = f"{host}:{self.port}"
        super().__init__(f"agent {host}", [
            fleet.binary, "agent", "--listen", self.address, "--mkey-file", fleet.mkey_file, "--enforcer", "dry-run",
            "--zookeeper", fleet.places.zookeeper, "--zookeeper-root", fleet.root,
        ], fleet.home / f"agent-{host}.log")

    def client(self, seconds=5):
        return AgentClient(self.host, self.port, seconds)


class Fleet:
    """Workers that share a topic, settings and a database. `machines` says which roles run on each, `agents` the hosts that
    have an agent; `listed` whether agents are found in ZooKeeper also where none is started here."""

    def __init__(self, binary, home, places, name, topic, machines, settings, format="combined", agents=(),
                 listed=False):
        self.binary, self.home, self.places, self.name, self.topic = binary, home / name, places, name, topic
        self.format = format
        self.root = f"/{name}"
        self.home.mkdir()
        self.mkey_file = self.home / "mkey"
        self.mkey_file.write_text(MKEY + "\n")
        self.mkey_file.chmod(0o600)
        (self.home / "settings.json").write_text(json.dumps(settings))
        self.database = Database(places, name)
        self.listed = listed or bool(agents)
        self.agents = [Agent(self, host) for host in agents]
        # Of several that do everything each does a part.
        self.keyed = sum("all" in roles for roles in machines) > 1
        self.workers = [Worker(self, number, role) for number, roles in enumerate(machines, 1) for role in roles]

    def configuration(self, name, role):
        mysql = self.places.mysql
        (self.home / name / "password").write_text(mysql.password + "\n")
        (self.home / name / "password").chmod(0o600)
        # Nobody is really blocked. What analyses wants agents in ZooKeeper, though none may be there.
        registered = self.listed or role == "analyse" or self.keyed
        agents = '[registered_agents]\nmkey_file = "../mkey"' if registered else '[agent]\nenforcer = "dry-run"'
        return f"""
            state = "state"
            settings = "../settings.json"
            [worker]
            role = "{role}"
            name = "{name}"
            [[source]]
            kafka = "{self.topic}"
            format = '''{self.format}'''
            start = "beginning"
            [kafka]
            brokers = ["{self.places.kafka}"]
            group = "{self.name}"
            keyed_by_client = {"true" if self.keyed else "false"}
            session_timeout = {SESSION}
            hits_topic = "{self.name}.hits"
            findings_topic = "{self.name}.findings"
            key_bans_topic = "{self.name}.key_bans"
            [zookeeper]
            servers = "{self.places.zookeeper}"
            root = "{self.root}"
            session_timeout = {SESSION}
            [store]
            url = "mysql://{mysql.username}@{mysql.hostname}:{mysql.port}/{self.name}"
            password_file = "password"
            {agents}
            [http]
            listen = "127.0.0.1:0"
        """

    def groups(self):
        """Role → the consumer group of its workers, and the topic whose partitions they share."""
        return {"match": (self.name, self.topic), "analyse": (f"{self.name}.analyse", f"{self.name}.hits")}

    def worker(self, machine, role):
        return next(each for each in self.workers if (each.machine, each.role) == (machine, role))

    def start(self):
        for program in [*self.agents, *self.workers]:
            program.start()
        for worker in self.workers:
            worker.wait_until_ready()

    def must_run(self):
        for program in [*self.agents, *self.workers]:
            program.must_run()

    def kill(self):
        for program in [*self.workers, *self.agents]:
            program.kill()

    def end(self):
        """Ends all in good order; what didn't."""
        for worker in self.workers:
            code = worker.end()
            if code != 0:
                yield f"{worker.name} ended with {code} after SIGTERM"
        for agent in self.agents:
            code = agent.end()
            if code != 0:
                yield f"{agent.name} ended with {code} after SIGTERM"

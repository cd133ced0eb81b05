"""`ccfirewall run` and `ccfirewall agent` as processes of their own: started, awaited, killed, and looked at from
outside, by HTTP on the control socket, by Thrift, and in the SQLite database.

Nothing here waits without a bound, and only processes that were started here are ended.
"""

import contextlib
import http.client
import importlib
import json
import logging
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MKEY = "2c8f0e6a4b1d97354f0c6e8a1b3d5f70"


# A file in a test's folder that says that it's to be kept.
KEEP = "keep"
# Where `skips` and `servers` are.
sys.path.append(str(REPOSITORY / "e2e"))


class Failed(Exception):
    """What should have happened didn't."""


def wait_for(what, condition, seconds, every=0.01):
    """What `condition` gives as soon as that is something; a failure after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > until:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(every)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def folder(keep=False):
    """A temporary folder; a kept one is named. SIGTERM ends the test as an exception, so that all is cleaned up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    # Short, for the path of a Unix socket has at most 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="ccfw-"))
    try:
        yield path
    except BaseException:
        keep = True
        raise
    finally:
        if keep or (path / KEEP).exists():
            print(f"kept: {path}")
        else:
            subprocess.run(["rm", "-rf", str(path)], check=False)


def judged(name, keep, play):
    """Plays a test in a folder of its own, prints the problems that `play` gives and the verdict, and gives the exit code.
    Where there are problems the folder is kept."""
    with folder(keep) as home:
        try:
            problems = list(play(home))
        except Failed as failure:
            problems = [str(failure)]
        if problems:
            (home / KEEP).touch()
    return verdict(name, problems)


def verdict(name, problems):
    """Prints it, and gives the exit code."""
    for problem in problems[:60]:
        print(f"  PROBLEM {problem}")
    print(f"{'FAIL' if problems else 'PASS'} {name}: {len(problems)} problems")
    return 1 if problems else 0


class Program:
    """A process that is started again and again, with its messages in one file."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.command, self.log = name, [str(part) for part in command], log
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.started = 0.0

    def start(self, **pipes):
        self.started = time.time()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, env=self.environment,
                                            **{"stdout": log, "stdin": subprocess.DEVNULL, **pipes})

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, where it runs."""
        if self.runs():
            self.process.kill()
        if self.process:
            self.process.wait()

    def end(self, seconds=30):
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.name} didn't end within {seconds} s of SIGTERM") from error

    def must_run(self):
        if not self.runs():
            code = self.process and self.process.returncode
            tail = "".join(open(self.log, errors="replace").readlines()[-8:])
            raise Failed(f"{self.name} ended by itself with {code}:\n{tail}")


class Controlled(Program):
    """`ccfirewall run`, looked at by the control socket in its state folder."""

    def __init__(self, name, command, log, state):
        self.state = state
        # Local times in the tables are the same as UTC then.
        super().__init__(name, command, log, {"TZ": "UTC"})

    def get(self, path, seconds=5):
        return get(self.state / "control.sock", path, seconds)

    def status(self):
        return self.get("/api/v1/status")

    def wait_until_ready(self, seconds=20):
        def answers():
            self.must_run()
            try:
                return self.status()
            except (OSError, http.client.HTTPException):
                return None

        return wait_for(f"{self.name} answers on its control socket", answers, seconds)


class Run(Controlled):
    """`ccfirewall run --config`, or with arguments of its own."""

    def __init__(self, binary, home, arguments=None):
        state = home / "state"
        self.database = state / "ccfirewall.db"
        arguments = arguments or ["--config", home / "ccfirewall.toml"]
        super().__init__("run", [binary, "run", *arguments], home / "run.log", state)


class Agent(Program):
    """`ccfirewall agent`."""

    def __init__(self, binary, home, enforcer):
        self.host, self.port = "127.0.0.1", free_port()
        self.mkey_file = home / "mkey"
        self.mkey_file.write_text(MKEY + "\n")
        self.mkey_file.chmod(0o600)
        super().__init__("agent", [binary, "agent", "--listen", f"{self.host}:{self.port}", "--mkey-file",
                                   self.mkey_file, "--enforcer", enforcer], home / "agent.log")

    def client(self, seconds=5):
        return AgentClient(self.host, self.port, seconds)

    def wait_until_ready(self, seconds=10):
        def answers():
            self.must_run()
            try:
                with self.client() as client:
                    return client.status().flag == 1
            except (OSError, EOFError, AgentClient.errors()):
                return False

        wait_for("the agent answers", answers, seconds)


class AgentClient:
    """A connection to an agent, with code that the Thrift compiler makes of the interface."""

    service = None
    made = None

    def __init__(self, host, port, seconds=5):
        from thrift.protocol import TBinaryProtocol
        from thrift.transport import TSocket, TTransport

        link = TSocket.TSocket(host, port)
        link.setTimeout(int(seconds * 1000))
        self.transport = TTransport.TBufferedTransport(link)
        self.client = self.generated().Client(TBinaryProtocol.TBinaryProtocol(self.transport))
        self.transport.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.transport.close()

    @classmethod
    def generated(cls):
        if cls.service is None:
            cls.made = tempfile.TemporaryDirectory()
            interface = REPOSITORY / "thrift" / "ccfirewall.thrift"
            subprocess.run(["thrift", "--gen", "py", "-out", cls.made.name, str(interface)], check=True)
            sys.path.insert(0, cls.made.name)
            # An agent that is down is nothing to be told of each time.
            logging.getLogger("thrift").setLevel(logging.CRITICAL)
            cls.service = importlib.import_module("ccfirewall.CCfirewallAgent")
        return cls.service

    @staticmethod
    def errors():
        from thrift.Thrift import TException

        return TException

    def status(self):
        return self.client.status(MKEY)

    def held(self):
        """What it holds: target → milliseconds left."""
        answer = self.client.held(MKEY, 0, 100_000)
        if answer.flag != 1:
            raise Failed(f"held: {answer.flag} {answer.result}")
        return {ban.target: ban.left_ms for ban in answer.bans}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, seconds):
        super().__init__("localhost", timeout=seconds)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(control_socket, path, seconds=5):
    """The JSON that a page of the control socket has."""
    connection = UnixConnection(control_socket, seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failed(f"{path}: {answer.status} {body[:300]}")
        return json.loads(body)
    finally:
        connection.close()


def rows(database, query, *values):
    """What a query finds; nothing where there is no database or table yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.OperationalError as error:
        if "unable to open" in str(error) or "no such table" in str(error):
            return []
        raise

"""`ccfirewall run` on a host, and what can be asked of it over its control socket."""

import contextlib
import http.client
import json
import pathlib
import socket
import urllib.parse

from namespaces import Host, eventually


def ban_path(target: str) -> str:
    return "/api/v1/bans/" + urllib.parse.quote(target, safe="")


class Control(http.client.HTTPConnection):
    """A connection to a control socket."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Firewall:
    """Keeps everything in a folder: settings, state, and what it says (`said.txt`)."""

    def __init__(self, binary: str, host: Host, folder: pathlib.Path, log: pathlib.Path, settings: dict) -> None:
        self.binary, self.host, self.folder, self.log = binary, host, folder, log
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        (folder / "settings.json").write_text(json.dumps(settings))

    def start(self, *options: str) -> None:
        """Starts it, and waits until it works."""
        self.spawn(*options)
        eventually("ccfirewall works", self.is_well, 30)

    def spawn(self, *options: str) -> None:
        command = [self.binary, "run", "--log", self.log, "--settings", self.folder / "settings.json"]
        command += ["--state", self.state, "--enforcer", "nftables", *options]
        with open(self.folder / "said.txt", "ab") as said:
            self.program = self.host.start([str(word) for word in command], stdout=said, stderr=said)

    def is_well(self) -> bool:
        if self.program.poll() is not None:
            raise RuntimeError(f"ccfirewall ended with exit code {self.program.returncode}:\n{self.said()}")
        try:
            return self.ask("GET", "/healthz")["ok"]
        except OSError:
            return False

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def send(self, method: str, path: str, body: dict | None = None) -> Control:
        """Sends a request; what comes back is for the caller to read."""
        control = Control(self.state / "control.sock")
        control.request(method, path, json.dumps(body) if body else None)
        return control

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        with contextlib.closing(self.send(method, path, body)) as control:
            return json.loads(control.getresponse().read())

    def bans(self) -> dict[str, dict]:
        """The bans in force by their targets."""
        return {ban["target"]: ban for ban in self.ask("GET", "/api/v1/bans")["bans"]}

    def unban(self, target: str) -> dict:
        return self.ask("DELETE", ban_path(target))

    def command(self, *words: str) -> str:
        """`ccfirewall bans …`, as a person calls it."""
        return self.host.run([self.binary, "bans", "--state", str(self.state), *words])

    def stop(self) -> int:
        """Tells it to end, and gives its exit code."""
        self.program.terminate()
        return self.program.wait(timeout=30)

    def kill(self) -> None:
        self.program.kill()
        self.program.wait()

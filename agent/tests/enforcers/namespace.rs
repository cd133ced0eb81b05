//! Other hosts: network namespaces with their programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::help::run;

/// A program that ends when this does.
pub(crate) struct Helper {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Helper {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// Sends a line and gives the one that comes back.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.says.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another network namespace, which is there as long as its process.
pub(crate) struct Namespace(Helper);

impl Namespace {
    pub(crate) fn new() -> Self {
        let mut helper = Helper::start(Command::new("unshare").args(["--net", "cat"]));
        assert_eq!(helper.ask("there"), "there");
        let namespace = Self(helper);
        namespace.run("ip link set lo up");
        namespace
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.child.id()
    }

    pub(crate) fn run(&self, command: &str) -> String {
        run(&format!("nsenter --net --target {} sh -ec '{command}'", self.pid()))
    }

    /// A link from here to there, with an address of each family at both ends.
    pub(crate) fn link(&self, name: &str, subnet: u8) {
        run(&format!(
            "ip link add {name} type veth peer name peer netns {}
             ip addr add 10.9.{subnet}.1/24 dev {name}
             ip addr add fd09:{subnet}::1/64 dev {name} nodad
             ip link set {name} up",
            self.pid()
        ));
        self.run(&format!(
            "ip addr add 10.9.{subnet}.2/24 dev peer; ip addr add fd09:{subnet}::2/64 dev peer nodad; ip link set peer up
             ip route add default via 10.9.{subnet}.1; ip route add default via fd09:{subnet}::1"
        ));
    }

    pub(crate) fn python(&self, program: &str, arguments: &[&str]) -> Helper {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.pid().to_string(), "python3", "-c", program])
            .args(arguments);
        Helper::start(&mut command)
    }

    /// A client: connects for each line on its input, and says `yes` or `no`.
    pub(crate) fn client(&self, address: &str) -> Helper {
        self.python(
            "import socket, sys
for line in sys.stdin:
    try:
        with socket.create_connection((sys.argv[1], 80), timeout=0.4) as s:
            s.sendall(b'x')
            print('yes' if s.recv(1) == b'x' else 'no', flush=True)
    except OSError:
        print('no', flush=True)",
            &[address],
        )
    }

    /// A client with one connection, on which it sends a byte for each line.
    pub(crate) fn lasting_client(&self, address: &str) -> Helper {
        self.python(
            "import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=5)
s.settimeout(0.4)
for line in sys.stdin:
    try:
        s.sendall(b'x')
        print('yes' if s.recv(1) == b'x' else 'no', flush=True)
    except OSError:
        print('no', flush=True)",
            &[address],
        )
    }

    /// A server on port 80 that sends back what it gets, for both families.
    pub(crate) fn server(&self) -> Helper {
        let mut server = self.python(
            "import socket, sys, threading
def talk(c):
    with c:
        while data := c.recv(100):
            c.sendall(data)
s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
def serve():
    while True:
        threading.Thread(target=talk, args=(s.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    print('ready', flush=True)",
            &[],
        );
        assert_eq!(server.ask("?"), "ready");
        server
    }
}

pub(crate) fn serve_here() {
    let listener = TcpListener::bind("[::]:80").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

//! `ccfirewall settings get|set|edit|history|diff|rollback` as people use them, on a real ZooKeeper and on a file.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod program;
mod zookeeper;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Run, program};
use serde_json::Value;
use tempfile::TempDir;
use zk_config::Ensemble;
use zookeeper::{connect, delete, place, write_directly};

/// Somebody at a shell.
struct Person {
    folder: TempDir,
    place: Vec<String>,
    name: &'static str,
}

impl Person {
    fn new(name: &'static str, place: &[&str]) -> Self {
        let place = place.iter().map(|arg| (*arg).to_owned()).collect();
        Self { folder: tempfile::tempdir().unwrap(), place, name }
    }

    fn at(name: &'static str, ensemble: &Ensemble) -> Self {
        Self::new(name, &["--zookeeper", &ensemble.servers, "--root", &ensemble.root])
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg("settings").args(args).args(&self.place);
        command.env_remove("SUDO_USER").env_remove("VISUAL").env_remove("EDITOR");
        command.env("USER", self.name).env("TMPDIR", self.folder.path());
        command
    }

    fn runs(&self, args: &[&str]) -> Run {
        run(self.command(args), b"")
    }

    /// Expects an exit code, and texts on standard error.
    #[track_caller]
    fn check(&self, args: &[&str], code: i32, said: &[&str]) -> String {
        check(&self.runs(args), code, said)
    }

    /// Lets an editor do `script` with the file in `$1`.
    #[track_caller]
    fn edits(&self, script: &str, code: i32, said: &[&str]) -> String {
        check(&run(self.editing(script), b""), code, said)
    }

    fn editing(&self, script: &str) -> Command {
        let editor = self.file("editor", format!("#!/bin/sh\nset -e\n{script}\n"));
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = self.command(&["edit"]);
        // With an option, as people have them there.
        command.env("EDITOR", format!("sh {editor}"));
        command
    }

    /// Files that an editor left behind.
    fn left(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_str().unwrap().contains("ccfirewall-settings-")).collect()
    }

    fn count(&self) -> Value {
        serde_json::from_str(&self.check(&["get", "count", "--effective"], 0, &[])).unwrap()
    }
}

fn run(mut command: Command, input: &[u8]) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    Run { code: output.status.code(), stdout: output.stdout, stderr }
}

#[track_caller]
fn check(run: &Run, code: i32, said: &[&str]) -> String {
    let out = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.code, Some(code), "{out}{}", run.stderr);
    for text in said {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
    out
}

#[test]
fn get_and_set() {
    let Some((_servers, place)) = place() else { return };
    let ann = Person::at("ann", &place);
    ann.check(&["get"], 1, &["there are no settings in ZooKeeper", "set --file"]);
    let text = "{\n  \"if_block\": true,\n  \"count\": \"100\"\n}\n";
    let file = ann.file("settings.json", text);
    let out = ann.check(&["set", "--file", &file], 0, &[]);
    assert!(out.ends_with("Written to ZooKeeper: version 0.\n"), "{out}");
    assert_eq!(ann.check(&["get"], 0, &[]), text);
    assert_eq!(ann.check(&["get", "count"], 0, &[]), "\"100\"\n");
    assert_eq!(ann.count(), 100);
    ann.check(&["get", "block_second"], 1, &["its default holds"]);
    assert_eq!(ann.check(&["get", "-e", "block_second"], 0, &[]), "600\n");
    ann.check(&["get", "blok_second"], 1, &["no such key"]);
    ann.check(&["get", "count["], 2, &["is no key"]);
    let whole: Value = serde_json::from_str(&ann.check(&["get", "--effective"], 0, &[])).unwrap();
    assert_eq!((&whole["count"], &whole["ipv6_prefix"]), (&100.into(), &64.into()));

    let out = ann.check(&["set", "count", "300"], 0, &[]);
    let expect = "--- version 0\n+++ new\n@@ -1,4 +1,4 @@\n {\n   \"if_block\": true,\n-  \"count\": \"100\"\n+  \"count\": 300\n }\n\
                  Written to ZooKeeper: version 1.\n";
    assert_eq!(out, expect);
    assert_eq!(ann.check(&["set", "count", "300"], 0, &[]), "Nothing changes.\n");
    ann.check(&["set", "ip_white_list", "203.0.113.9", "10.0.0.0/8"], 0, &[]);
    ann.check(&["set", "special_rule[\"h/login\"].threshold_secound", "5"], 0, &["warning: "]);
    ann.check(&["set", "default_host", "www.example.com"], 0, &[]);
    let expect = "{\n  \"if_block\": true,\n  \"count\": 300,\n  \"ip_white_list\": [\"203.0.113.9\", \"10.0.0.0/8\"],\n  \
                  \"special_rule\": {\"h/login\": {\"threshold_secound\": 5}},\n  \"default_host\": \"www.example.com\"\n}\n";
    assert_eq!(ann.check(&["get"], 0, &[]), expect);
    assert_eq!(ann.check(&["get", "ip_white_list[1]"], 0, &[]), "\"10.0.0.0/8\"\n");

    let json: Value = serde_json::from_str(&ann.check(&["set", "count", "7", "-o", "json"], 0, &[])).unwrap();
    assert_eq!(json, serde_json::json!({ "changed": true, "version": 5 }));
    let out = check(&run(ann.command(&["set", "--file", "-"]), b"{}"), 0, &[]);
    assert!(out.ends_with("version 6.\n"), "{out}");
}

#[test]
fn what_has_errors_is_not_written() {
    let Some((_servers, place)) = place() else { return };
    let ann = Person::at("ann", &place);
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 1}"), 0, &[]);
    ann.check(&["set", "count", "0"], 3, &["count: must be", "nothing was written"]);
    ann.check(
        &["set", "special_rule[\"/a\"].blok_second", "1"],
        3,
        &["special_rule[\"/a\"].blok_second: unknown key"],
    );
    ann.check(&["set", "coutn", "1"], 3, &["did you mean `count`?"]);
    ann.check(&["set", "ip_white_list", "10.0.0.1", "nobody"], 3, &["ip_white_list[1]: "]);
    ann.check(&["set", "count", "1", "2"], 2, &["takes one value"]);
    ann.check(&["set", "ip_white_list[0]", "10.0.0.1"], 1, &["set the whole list"]);
    ann.check(&["set", "count.x", "1"], 1, &["is no object"]);
    ann.check(&["set", "count"], 2, &["VALUE"]);
    ann.check(&["set"], 2, &["KEY"]);
    ann.check(&["set", "--file", "no-such-file"], 2, &["no-such-file"]);
    let two = ann.file("two.json", "{\"count\": 0, \"if_block\": 7}");
    ann.check(&["set", "--file", &two], 3, &["2 errors", "count: ", "if_block: "]);
    for hostile in [&b""[..], b"{", b"\xff\x00", b"null", &b"[".repeat(100_000)] {
        check(&run(ann.command(&["set", "-f", "-"]), hostile), 3, &["1 error"]);
    }
    let large = format!("{{\"default_host\": \"h\",{}\"count\": 1}}", " ".repeat(1_000_000));
    check(&run(ann.command(&["set", "-f", "-"]), large.as_bytes()), 1, &["a node of ZooKeeper holds"]);
    assert_eq!(ann.check(&["get"], 0, &[]), "{\"count\": 1}\n");

    // What somebody else broke can be mended.
    write_directly(&place, b"{\"count\": 0}");
    ann.check(&["get", "-e"], 3, &["count: must be"]);
    ann.check(&["set", "count", "5"], 0, &[]);
    write_directly(&place, b"\xff\x1b[2J\x00");
    assert_eq!(ann.runs(&["get"]).stdout, b"\xff\x1b[2J\x00\n");
    ann.check(&["set", "count", "5"], 1, &["is no object"]);
    let out = check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 6}"), 0, &[]);
    assert!(out.contains("\\u{1b}[2J") && !out.contains('\u{1b}'), "{out:?}");
}

#[test]
fn only_the_version_that_was_meant_is_replaced() {
    let Some((_servers, place)) = place() else { return };
    let (ann, bob) = (Person::at("ann", &place), Person::at("bob", &place));
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 1}"), 0, &[]);
    bob.check(&["set", "count", "2", "--expect", "0"], 0, &[]);
    ann.check(&["set", "count", "3", "--expect", "0"], 1, &["by bob@", "(version 1)", "nothing was written"]);
    assert_eq!(ann.count(), 2);
    write_directly(&place, b"{\"count\": 9}");
    ann.check(&["set", "count", "3", "--expect", "1"], 1, &["by somebody", "(version 2)"]);
    delete(&place);
    ann.check(&["set", "count", "3", "--expect", "2"], 1, &["were deleted in between"]);
}

#[test]
fn an_editor() {
    let Some((_servers, place)) = place() else { return };
    let ann = Person::at("ann", &place);
    // Where there are none yet, the defaults are what one begins with.
    let out = ann.edits("test \"$(stat -c %a \"$1\")\" = 600\nsed -i 's/200/300/' \"$1\"", 0, &[]);
    assert!(out.contains("version 0"), "{out}");
    assert_eq!(ann.count(), 300);
    let out = ann.edits("true", 0, &[]);
    assert_eq!(out, "Nothing was changed.\n");
    // As editors do that write another file and rename it.
    let out = ann.edits("sed 's/300/400/' \"$1\" > \"$1.new\"\nmv \"$1.new\" \"$1\"", 0, &[]);
    assert!(out.contains("-  \"count\": 300,\n+  \"count\": 400,\n") && out.contains("version 1"), "{out}");
    assert!(ann.left().is_empty(), "{:?}", ann.left());

    let said = ["2 errors", "count: must be", "hello: unknown key", "what you wrote is in "];
    ann.edits("echo '{\"count\": 0, \"hello\": 1}' > \"$1\"", 3, &said);
    let left = ann.left();
    assert_eq!(left.len(), 1);
    assert_eq!(fs::read_to_string(&left[0]).unwrap(), "{\"count\": 0, \"hello\": 1}\n");
    fs::remove_file(&left[0]).unwrap();
    ann.edits("exit 7", 1, &["ended with exit status: 7"]);
    ann.edits("rm \"$1\"", 1, &["can't read"]);
    ann.edits("printf '\\377' > \"$1\"", 3, &["UTF-8"]);
    assert_eq!(ann.count(), 400);
    let mut nobody = ann.command(&["edit"]);
    nobody.env("EDITOR", "no-such-editor");
    check(&run(nobody, b""), 1, &["no-such-editor"]);
}

#[test]
fn whoever_is_slower_loses_no_text() {
    let Some((_servers, place)) = place() else { return };
    let (ann, bob) = (Person::at("ann", &place), Person::at("bob", &place));
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 1}"), 0, &[]);
    // While ann has it open, bob changes something.
    let mut command = ann
        .editing("\"$CCFIREWALL\" settings set count 2 $PLACE > /dev/null\necho '{\"count\": 3}' > \"$1\"");
    command.env("CCFIREWALL", env!("CARGO_BIN_EXE_ccfirewall")).env("PLACE", bob.place.join(" "));
    command.env("SUDO_USER", "bob");
    check(
        &run(command, b""),
        1,
        &["changed in between by bob@", "(version 1)", "nothing was written", "what you wrote is in "],
    );
    assert_eq!(ann.count(), 2);
    let left = ann.left();
    assert_eq!(fs::read_to_string(&left[0]).unwrap(), "{\"count\": 3}\n");
    ann.check(&["set", "--file", left[0].to_str().unwrap()], 0, &[]);
    assert_eq!(ann.count(), 3);
}

#[test]
fn editors_who_race_lose_no_edit() {
    let Some((_servers, place)) = place() else { return };
    let ann = Person::at("ann", &place);
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\":100}"), 0, &[]);
    let (editors, edits) = (3, 4);
    std::thread::scope(|scope| {
        for _ in 0..editors {
            scope.spawn(|| {
                let person = Person::at("editor", &place);
                let more = "n=$(sed 's/[^0-9]//g' \"$1\")\necho \"{\\\"count\\\":$((n + 1))}\" > \"$1\"";
                let mut left = edits;
                while left > 0 {
                    let run = run(person.editing(more), b"");
                    match run.code {
                        Some(0) => left -= 1,
                        Some(1) if run.stderr.contains("in between") => {}
                        _ => panic!("{run:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(ann.count(), 100 + editors * edits);
    let history: Value = serde_json::from_str(&ann.check(&["history", "-o", "json"], 0, &[])).unwrap();
    let versions = history.as_array().unwrap();
    assert_eq!(versions.len(), 1 + editors * edits);
    for (at, version) in versions.iter().rev().enumerate().skip(1) {
        assert_eq!(
            version["changed"],
            format!("count {} → {}", 99 + at, 100 + at),
            "each from the one before"
        );
    }
}

#[test]
fn history_diff_and_rollback() {
    let Some((_servers, place)) = place() else { return };
    let (ann, bob) = (Person::at("ann", &place), Person::at("bob", &place));
    assert_eq!(ann.check(&["history"], 0, &[]), "There is no history yet.\n");
    ann.check(&["diff"], 1, &["no two versions"]);
    ann.check(&["rollback", "0"], 1, &["no version 0"]);
    let first = "{\n  \"count\": 1\n}\n";
    check(&run(ann.command(&["set", "-f", "-"]), first.as_bytes()), 0, &[]);
    bob.check(&["set", "count", "2"], 0, &[]);
    bob.check(&["set", "ip_white_list", "10.0.0.1"], 0, &[]);
    let out = ann.check(&["history"], 0, &[]);
    let lines: Vec<&str> = out.lines().filter(|line| line.contains('@')).collect();
    assert!(lines[0].contains("bob@") && lines[0].contains("ip_white_list +1"), "{out}");
    assert!(lines[1].contains("count 1 → 2") && lines[2].contains("ann@") && lines.len() == 3, "{out}");
    let out = ann.check(&["history", "-n", "1"], 0, &[]);
    assert!(out.contains("ip_white_list +1") && out.contains("2 more"), "{out}");

    let out = ann.check(&["diff"], 0, &[]);
    assert!(
        out.starts_with("--- version 1\n+++ version 2\n")
            && out.contains("+  \"ip_white_list\": [\"10.0.0.1\"]"),
        "{out}"
    );
    let out = ann.check(&["diff", "0", "1"], 0, &[]);
    assert!(out.contains("-  \"count\": 1\n+  \"count\": 2\n") && !out.contains("ip_white_list"), "{out}");
    let out = ann.check(&["diff", "0"], 0, &[]);
    assert!(out.contains("+++ version 2 (now)") && out.contains("ip_white_list"), "{out}");
    ann.check(&["diff", "0", "9"], 1, &["there is no version 9", "settings history"]);
    ann.check(&["diff", "-1"], 2, &[]);

    let out = ann.check(&["rollback", "0"], 0, &[]);
    assert!(out.contains("-  \"count\": 2,\n") && out.ends_with("version 3.\n"), "{out}");
    assert_eq!(ann.check(&["get"], 0, &[]), first);
    assert_eq!(ann.check(&["rollback", "0", "--yes"], 0, &[]), "Nothing changes.\n");
    let history: Value = serde_json::from_str(&ann.check(&["history", "-o", "json"], 0, &[])).unwrap();
    assert_eq!(
        (&history[0]["version"], &history[0]["changed"]),
        (&3.into(), &"count 2 → 1, ip_white_list −1".into())
    );
    assert_eq!(history[3]["changed"], Value::Null);

    // Older versions that a number doesn't mean any more.
    delete(&place);
    ann.check(&["diff", "0", "1"], 0, &[]);
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 5}"), 0, &[]);
    let out = ann.check(&["diff", "0"], 0, &[]);
    assert_eq!(out, "", "version 0 is the newest of that number");
    ann.check(&["diff"], 0, &[]);
    let out = ann.check(&["history"], 0, &[]);
    assert_eq!(out.lines().filter(|line| line.contains('@')).count(), 5, "{out}");
}

#[test]
fn a_person_is_asked() {
    let Some((_servers, place)) = place() else { return };
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no `script`, which makes a terminal");
        return;
    }
    let ann = Person::at("ann", &place);
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 1}"), 0, &[]);
    ann.check(&["set", "count", "2"], 0, &[]);
    let at_a_terminal = |command: &Command, input: &str| {
        let args: Vec<String> =
            command.get_args().map(|arg| format!("'{}'", arg.to_str().unwrap())).collect();
        let mut script = Command::new("script");
        let line = format!("'{}' {}", env!("CARGO_BIN_EXE_ccfirewall"), args.join(" "));
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(script, input.as_bytes())
    };
    let out = check(&at_a_terminal(&ann.command(&["rollback", "0"]), "n\n"), 1, &[]);
    assert!(out.contains("Write this? [y/N]") && out.contains("nothing was written"), "{out}");
    assert!(out.contains("\u{1b}[31m-{\"count\": 2}"), "{out:?}");
    assert_eq!(ann.count(), 2);
    check(&at_a_terminal(&ann.command(&["rollback", "0"]), "y\n"), 0, &[]);
    assert_eq!(ann.count(), 1);
    // First with an error, then without.
    let twice = "if test -e \"$1.once\"; then rm \"$1.once\"; echo '{\"count\": 4}' > \"$1\"; \
                 else touch \"$1.once\"; echo '{\"count\": 0}' > \"$1\"; fi";
    let out = check(&at_a_terminal(&ann.editing(twice), "y\n"), 0, &[]);
    assert!(out.contains("count: must be") && out.contains("Edit again?"), "{out}");
    assert_eq!(ann.count(), 4);
    write_directly(&place, b"{\"default_host\": \"\x1b]0;x\x07\"}");
    let out = check(&at_a_terminal(&ann.command(&["get"]), ""), 0, &[]);
    assert!(out.contains("\\u{1b}]0;x"), "{out:?}");
}

#[test]
fn with_a_configuration() {
    let Some((_servers, place)) = place() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = |section: &str| {
        let path = folder.path().join("ccfirewall.toml");
        fs::write(&path, format!("[[source]]\nlog = 'a.log'\n{section}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (servers, root) = (&place.servers, &place.root);
    fs::write(folder.path().join("auth"), "ann:hush\n").unwrap();
    let path = config(&format!("[zookeeper]\nservers = '{servers}'\nroot = '{root}'\nauth_file = 'auth'\n"));
    let ann = Person::new("ann", &["--config", &path]);
    check(&run(ann.command(&["set", "-f", "-"]), b"{\"count\": 1}"), 0, &[]);
    assert_eq!(ann.count(), 1);
    // Its nodes are for those who know the password.
    Person::at("bob", &place).check(&["get"], 1, &["ZooKeeper forbids it"]);
    let other = Person::new("ann", &["--config", &path, "--zookeeper", servers, "--root", root]);
    assert_eq!(other.count(), 1);
    fs::write(folder.path().join("auth"), "hush").unwrap();
    let said = ann.runs(&["get"]);
    assert!(
        said.code == Some(1) && said.stderr.contains("user:password") && !said.stderr.contains("hush"),
        "{said:?}"
    );

    let path = config("[zookeper]\nservers = 'a:1'\n");
    Person::new("ann", &["--config", &path]).check(&["get"], 3, &["did you mean `[zookeeper]`?"]);
    let path = config("");
    Person::new("ann", &["--config", &path]).check(&["get"], 2, &["neither `[zookeeper]` nor"]);
    Person::new("ann", &["--config", "no-such.toml"]).check(&["get"], 2, &["no-such.toml", "--zookeeper"]);
    Person::new("ann", &["--zookeeper", "somewhere"]).check(&["get"], 2, &["host:port"]);
    Person::new("ann", &["--root", "/x"]).check(&["get"], 2, &["--zookeeper"]);
}

#[test]
fn zookeeper_away() {
    // Nobody listens on port 1.
    Person::new("ann", &["--zookeeper", "127.0.0.1:1"]).check(
        &["get"],
        1,
        &["127.0.0.1:1", "hasn't answered", "check that it runs"],
    );
}

#[test]
fn without_zookeeper_the_file_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ccfirewall.toml");
    fs::write(&path, "settings = 'settings.json'\n[[source]]\nlog = 'a.log'\n").unwrap();
    let ann = Person::new("ann", &["--config", path.to_str().unwrap()]);
    let settings = folder.path().join("settings.json");
    ann.check(&["get"], 1, &["there are no settings in", "settings.json"]);
    let out = ann.check(&["set", "count", "5"], 0, &[]);
    assert!(out.ends_with(&format!("Written to {}.\n", settings.display())), "{out}");
    assert_eq!(fs::read_to_string(&settings).unwrap(), "{\"count\": 5}\n");
    assert_eq!(ann.count(), 5);

    // A link stays a link, and the file's mode its mode.
    let real = folder.path().join("real.json");
    fs::rename(&settings, &real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o604)).unwrap();
    symlink("real.json", &settings).unwrap();
    ann.check(&["set", "count", "6"], 0, &[]);
    assert!(settings.is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o604);
    ann.edits("sed -i 's/6/7/' \"$1\"", 0, &[]);
    assert_eq!(fs::read_to_string(&real).unwrap(), "{\"count\": 7}\n");
    ann.check(&["set", "count", "0"], 3, &["count: must be"]);
    let script = format!("echo '{{\"count\": 8}}' > {}\necho '{{\"count\": 9}}' > \"$1\"", real.display());
    ann.edits(&script, 1, &["was changed in between", "nothing was written", "what you wrote is in "]);
    assert_eq!(ann.count(), 8);
    for command in [&["history"][..], &["diff"], &["rollback", "1"]] {
        ann.check(command, 2, &["only ZooKeeper keeps older versions"]);
    }
    ann.check(&["set", "count", "1", "--expect", "1"], 2, &["--expect needs ZooKeeper"]);
    assert_eq!(names(folder.path()), ["ccfirewall.toml", "real.json", "settings.json"]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn help_has_examples() {
    let help = program().args(["settings", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for text in ["Examples:", "settings rollback 41", "Exit codes:"] {
        assert!(help.contains(text), "{help}");
    }
}

#[test]
fn who_is_meant_by_sudo() {
    let Some((_servers, place)) = place() else { return };
    let ann = Person::at("root", &place);
    let mut command = ann.command(&["set", "-f", "-"]);
    command.env("SUDO_USER", "ann\u{1b}[2J");
    check(&run(command, b"{}"), 0, &[]);
    let who = connect(&place).history().unwrap().remove(0).who;
    assert!(who.starts_with("ann\\u{1b}[2J@") && !who.ends_with('@'), "{who}");
}

//! Who may know whom: an arrow of dependency points downwards, and topologies are built in one place.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// The members of the workspace, from the top, each with those that it may know.
const MEMBERS: [(&str, &[&str]); 9] = [
    // No part of the house, but built with it.
    (
        "benches",
        &["topology", "dashboard", "agent", "bolts", "zk-config", "ccfirewall-thrift", "engine", "model"],
    ),
    ("topology", &["dashboard", "agent", "bolts", "zk-config", "ccfirewall-thrift", "engine", "model"]),
    ("dashboard", &["bolts", "model"]),
    ("agent", &["ccfirewall-thrift", "zk-config", "model"]),
    ("bolts", &["engine", "model"]),
    ("zk-config", &["model"]),
    ("ccfirewall-thrift", &[]),
    ("engine", &[]),
    ("model", &[]),
];

/// Members that tests alone may know, and that know no other member.
const FOR_TESTS: [&str; 1] = ["real-servers"];

fn place(name: &str) -> Option<usize> {
    MEMBERS.iter().position(|(member, _)| *member == name)
}

/// What is wrong with `package` knowing `dependency`, another member.
fn objection(package: &str, dependency: &str, kind: DependencyKind) -> Option<String> {
    if FOR_TESTS.contains(&package) {
        return Some(format!("{package} is for tests, and depends on {dependency}, a part of the house"));
    } else if FOR_TESTS.contains(&dependency) {
        return (kind != DependencyKind::Development)
            .then(|| format!("{package} depends on {dependency}, which is for tests alone"));
    }
    let (Some(from), Some(to)) = (place(package), place(dependency)) else {
        return Some(format!("{package} or {dependency} has no place in the house: add it to MEMBERS"));
    };
    if to <= from {
        Some(format!("{package} depends on {dependency}, which stands above it"))
    } else if !MEMBERS[from].1.contains(&dependency) {
        Some(format!("{package} depends on {dependency}, of which it may not know"))
    } else {
        None
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn dependencies_point_downwards() {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let members: Vec<&Package> = metadata.workspace_packages();
    assert!(members.len() >= 4, "the workspace was not found");
    let mut objections = Vec::new();
    for package in &members {
        if place(&package.name).is_none() && !FOR_TESTS.contains(&package.name.as_str()) {
            objections.push(format!("{} has no place in the house: add it to MEMBERS", package.name));
        }
        for dependency in &package.dependencies {
            if members.iter().any(|member| *member.name == dependency.name) {
                objections.extend(objection(&package.name, &dependency.name, dependency.kind));
            }
        }
    }
    assert!(objections.is_empty(), "{objections:#?}");
}

#[test]
fn the_table_itself_points_downwards() {
    for (from, (name, known)) in MEMBERS.iter().enumerate() {
        for other in *known {
            assert!(place(other).unwrap() > from, "{name} may not know {other}");
        }
    }
    let normal = |package, dependency| objection(package, dependency, DependencyKind::Normal);
    assert_eq!(normal("bolts", "model"), None);
    assert!(normal("model", "engine").unwrap().contains("above"));
    assert!(normal("dashboard", "ccfirewall-thrift").unwrap().contains("may not know"));
    assert!(normal("bolts", "bolt").unwrap().contains("no place"));
    assert!(normal("topology", "real-servers").unwrap().contains("for tests"));
    assert!(normal("real-servers", "model").unwrap().contains("a part of the house"));
    assert_eq!(objection("topology", "real-servers", DependencyKind::Development), None);
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_the_wiring_builds_topologies() {
    let mut found = Vec::new();
    for (member, _) in MEMBERS.iter().filter(|(member, _)| *member != "engine") {
        let folder = workspace().join(member);
        for part in ["src", "tests", "benches", "examples"] {
            if folder.join(part).is_dir() {
                sources(&folder.join(part), &mut found);
            }
        }
    }
    let this_file = Path::new(file!()).file_name();
    let builders: Vec<PathBuf> = found
        .into_iter()
        .filter(|path| path.file_name() != this_file)
        .filter(|path| fs::read_to_string(path).unwrap().contains("TopologyBuilder"))
        .collect();
    assert_eq!(builders, [workspace().join("topology/src/wiring.rs")]);
}

//! Which enforcer is taken where nothing is asked for.

use agent::enforcer::best;

use crate::help::{Kind, isolated, isolated_by, run};

#[test]
fn nftables_is_taken_where_it_works() {
    isolated(Kind::Nftables, || {
        let (enforcer, why) = best().unwrap();
        assert_eq!((enforcer.name(), why), ("nftables", None));
    });
}

/// A program that isn't installed is named, with its package, and nothing is left behind.
#[test]
fn missing_programs_are_named() {
    isolated_by(Kind::Ipset, &["unshare", "--net", "--mount"], || {
        let hide = |program: &str| {
            run(&format!("for f in $(which -a {program} | sort -u); do mount --bind /dev/null $f; done"));
        };
        // With that goes whatever else it is a link to.
        hide("iptables-save");
        let before = run("nft list ruleset; ipset save");
        for kind in [Kind::Ipset, Kind::Iptables] {
            let error = kind.try_open().err().unwrap().to_string();
            assert!(
                error.contains("iptables-save isn't installed") && error.contains("the package iptables"),
                "{error}"
            );
        }
        let (enforcer, warnings) = agent::enforcer::cut::Cutting::new(best().unwrap().0).unwrap();
        assert_eq!(warnings, [] as [String; 0]);
        drop(enforcer);
        run("nft delete table inet ccfirewall");
        assert_eq!(run("nft list ruleset; ipset save"), before);
        hide("ipset ss conntrack");
        let error = Kind::Ipset.try_open().err().unwrap().to_string();
        assert!(error.contains("the program ipset isn't installed"), "{error}");
        let (_, warnings) = agent::enforcer::cut::Cutting::new(best().unwrap().0).unwrap();
        let warnings = warnings.join("\n");
        assert!(
            warnings.contains("package iproute2") && warnings.contains("package conntrack"),
            "{warnings}"
        );
    });
}

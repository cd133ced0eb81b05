//! Any bytes as settings: what is accepted can be printed, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::settings::Settings;
use model::url::UrlParts;

fuzz_target!(|json: &[u8]| {
    match Settings::parse(json) {
        Err(errors) => {
            assert!(!errors.findings().is_empty());
            assert!(errors.findings().iter().all(|finding| !finding.path.is_empty()));
        }
        Ok(parsed) => {
            let printed = parsed.document.to_json();
            let again = Settings::parse(&printed).expect("printed settings are in order");
            assert_eq!(again.document, parsed.document, "{printed}");
            assert_eq!(again.document.to_json(), printed);
            let parts = UrlParts { target: Some(b"/a/b"), ..UrlParts::default() };
            let url = parts.url(parsed.settings.default_host.as_deref());
            let rule = |settings: &Settings| settings.rules.find(url.as_ref());
            assert_eq!(rule(&parsed.settings), rule(&again.settings));
        }
    }
});

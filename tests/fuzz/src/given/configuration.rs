//! Octets as a configuration file (design section 5), read from a file as a node reads it.
//! A mistake is told with a line and column that exist; settings written in words are the same settings when they are
//! read again. Called by the target `given`.

use std::fs;

use mga_node::daemon::config::{ConfigError, Given};

/// Panics where that does not hold.
pub fn check(octets: &[u8]) {
    let path = std::env::temp_dir().join(format!("mga-node-fuzz-{}.toml", std::process::id()));
    fs::write(&path, octets).expect("a scratch file");
    let given = Given::read(&path);
    fs::remove_file(&path).expect("the scratch file goes");
    match given {
        Ok(given) => {
            assert_eq!(given.clone().over(Given::default()), given);
            assert_eq!(Given::default().over(given.clone()), given);
            let Ok(settings) = given.settle() else { return };
            let words = toml::to_string(&settings.words()).expect("settings have words");
            let again: Given = toml::from_str(&words).expect("the words parse");
            assert_eq!(again.settle().expect("the words are good settings"), settings);
        }
        Err(ConfigError::Malformed { line, column, .. }) => {
            let text = std::str::from_utf8(octets).expect("text, or it were unreadable");
            let told = text.split('\n').nth(line - 1).expect("the line exists");
            assert!(column <= told.chars().count() + 1, "{line}:{column} of {text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

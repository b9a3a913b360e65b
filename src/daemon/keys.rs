//! Keys of members, read from files that nobody but their owner can read (RFC 4285 5.1; docs/membership.md): 32
//! hexadecimal digits are a key. What was read is wiped as soon as it is one.
//! Called when a node starts, when a configuration is checked, and when an operator adds a member.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::config::{IdentitySettings, MemberEntry, RoleSettings, Settings};
use crate::protocol::auth::credentials::{Credentials, Key};
use crate::protocol::auth::members::MemberConfig;

/// Hexadecimal digits of a key.
const DIGITS: usize = 2 * Key::OCTETS;
/// Octets of the largest file that may hold one: the digits, some space before and after, and a line's end.
const LARGEST: usize = 256;

/// Why a key cannot be had. What the file contains is never told.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key-file {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("key-file {}: {fault}", .path.display())]
    Unfit { path: PathBuf, fault: String },
}

/// Reads the key in `path`.
///
/// # Errors
/// When it cannot be read, is no regular file, is open to others than its owner, is somebody else's, or holds anything
/// but 32 hexadecimal digits.
pub fn read(path: &Path) -> Result<Key, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    let unfit = |fault: String| KeyError::Unfit { path: path.to_owned(), fault };
    // Opening a pipe would wait for its writer.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let mut file = options.open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(unfit("is not a regular file".to_owned()));
    }
    let (mode, owner) = (about.mode() & 0o7777, about.uid());
    if mode & 0o077 != 0 {
        return Err(unfit(format!("has mode {mode:04o}, so that others can get at it: chmod 0600")));
    }
    let own = nix::unistd::geteuid().as_raw();
    if owner != own && owner != 0 {
        return Err(unfit(format!("belongs to user {owner}, who is neither root nor this node's, {own}")));
    }
    let mut text = Zeroizing::new([0; LARGEST]);
    let mut length = 0;
    while let Some(rest) = text.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let key =
        text.get(..length).filter(|_| length < LARGEST).and_then(|text| Key::from_hex(text.trim_ascii()));
    key.ok_or_else(|| unfit(format!("does not hold {DIGITS} hexadecimal digits and nothing else")))
}

/// The member that `entry` describes, with its key.
///
/// # Errors
/// When there is no good key.
pub fn member(entry: &MemberEntry) -> Result<MemberConfig, KeyError> {
    let MemberEntry { identifier, spi, key_file, anycast, care_of, max_weight, min_metric, enabled } = entry;
    Ok(MemberConfig {
        credentials: Credentials { identifier: identifier.clone(), spi: *spi, key: read(key_file)? },
        anycast: anycast.clone(),
        care_of: care_of.clone(),
        max_weight: max_weight.unwrap_or(u16::MAX),
        min_metric: min_metric.unwrap_or(0),
        enabled: *enabled,
    })
}

/// What a responder proves itself with.
///
/// # Errors
/// When there is no good key.
pub fn identity(settings: &IdentitySettings) -> Result<Credentials, KeyError> {
    let IdentitySettings { identifier, spi, key_file } = settings;
    Ok(Credentials { identifier: identifier.clone(), spi: *spi, key: read(key_file)? })
}

/// Reads every key that `settings` name, and forgets them again.
///
/// # Errors
/// For the first one that cannot be had.
pub fn check(settings: &Settings) -> Result<(), KeyError> {
    match &settings.role {
        RoleSettings::Haa(settings) => {
            let mut members = settings.members.iter().flat_map(|members| &members.members);
            members.try_for_each(|entry| member(entry).map(drop))
        }
        RoleSettings::Ar(settings) => settings.identity.iter().try_for_each(|own| identity(own).map(drop)),
        RoleSettings::Ai(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mga-node-keys-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const GOOD: &[u8] = b"000102030405060708090a0b0c0d0E0F";

    #[test]
    fn thirty_two_digits_are_a_key_and_nothing_else_is() {
        let folder = Folder::new("digits");
        assert!(read(&folder.file("good", GOOD, 0o600)).is_ok());
        assert!(read(&folder.file("line", &[b"\n ", GOOD, b"\n"].concat(), 0o400)).is_ok());
        for (name, content) in [
            ("empty", Vec::new()),
            ("short", GOOD[1..].to_vec()),
            ("long", [GOOD, b"0"].concat()),
            ("letters", [&GOOD[1..], b"g"].concat()),
            ("space", [&GOOD[..16], b" ", &GOOD[16..]].concat()),
            ("huge", [GOOD, &[b' '; 1000]].concat()),
            ("binary", vec![0xff; 32]),
        ] {
            let message = read(&folder.file(name, &content, 0o600)).expect_err(name).to_string();
            assert!(message.ends_with("does not hold 32 hexadecimal digits and nothing else"), "{message}");
        }
    }

    #[test]
    fn a_file_that_others_can_get_at_is_refused_with_the_remedy() {
        let folder = Folder::new("modes");
        for mode in [0o640, 0o604, 0o620, 0o644, 0o666, 0o601] {
            let message = read(&folder.file("open", GOOD, mode)).expect_err("it is open").to_string();
            assert!(message.contains(&format!("has mode {mode:04o}")), "{message}");
            assert!(message.ends_with("chmod 0600") && !message.contains("0102"), "{message}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = Folder::new("owners");
        let path = folder.file("another", GOOD, 0o600);
        if std::os::unix::fs::chown(&path, Some(4711), None).is_err() {
            return eprintln!("skipped: only root can give a file away");
        }
        let message = read(&path).expect_err("it is another's").to_string();
        assert!(message.contains("belongs to user 4711"), "{message}");
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = Folder::new("kinds");
        let pipe = folder.0.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a pipe");
        for path in [&folder.0, &pipe] {
            let message = read(path).expect_err("no regular file").to_string();
            assert!(message.ends_with("is not a regular file"), "{message}");
        }
        assert!(matches!(read(&folder.0.join("none")), Err(KeyError::Unreadable { .. })));
        let link = folder.0.join("link");
        symlink(folder.file("target", GOOD, 0o644), &link).expect("a link");
        assert!(read(&link).is_err(), "what counts is the file behind a link");
    }
}

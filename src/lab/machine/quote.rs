//! Words as one line that any login shell takes apart into the same words again: sh, bash, ksh, csh and tcsh.
//! ssh hands such a line to whatever shell the user has on the other machine; FreeBSD's root has csh.
//! `lab::machine::ssh` sends its commands by it.

use crate::lab::Error;

/// The line.
///
/// # Errors
/// [`Error::Step`] for a word with a line end or NUL in it, which csh cannot be told in any way that sh understands too.
pub fn line(words: &[&str]) -> Result<String, Error> {
    let mut line = String::new();
    for word in words {
        if word.contains(['\n', '\r', '\0']) {
            return Err(Error::Step(format!("{word:?} has a line end in it and cannot be sent to a shell")));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quoted(word));
    }
    Ok(line)
}

/// The word as it is when nothing in it means anything to a shell, otherwise in single quotes. A quote ends them for a
/// moment, and so does `!`, which csh looks for inside them, too.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for character in word.chars() {
        match character {
            '\'' | '!' => {
                quoted.push_str("'\\");
                quoted.push(character);
                quoted.push('\'');
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const WORDS: [&str; 14] = [
        "plain",
        "",
        "two words",
        "it's",
        "'",
        "!",
        "!!",
        "a!b'c!'",
        "$HOME `id` $(id) ${x}",
        "back\\slash \\! \\' \\",
        "\"double\"",
        "*?[a]{b,c}~#;&|<>()^=",
        "-n",
        "tab\tand ünïcode",
    ];

    #[test]
    fn every_shell_takes_the_words_apart_again() {
        let line = line(&[["printf", "<%s>\\n"].as_slice(), &WORDS].concat()).unwrap();
        let expected: String = WORDS.iter().map(|word| format!("<{word}>\n")).collect();
        let mut tried = 0;
        for shell in ["/bin/sh", "/bin/bash", "/bin/csh", "/bin/tcsh"] {
            if !std::path::Path::new(shell).exists() {
                eprintln!("skipped: {shell} is not installed");
                continue;
            }
            // As sshd does it.
            let output = Command::new(shell).arg("-c").arg(&line).env("LC_ALL", "C.UTF-8").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{shell}: {output:?}");
            tried += 1;
        }
        assert!(tried > 0);
    }

    #[test]
    fn a_line_end_is_refused() {
        for word in ["a\nb", "a\rb", "a\0b"] {
            assert!(line(&["echo", word]).is_err(), "{word:?}");
        }
    }
}

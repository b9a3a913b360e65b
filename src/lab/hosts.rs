//! The file that says how the six machines of Figure 11 are reached by ssh, for `mga-node lab section5 --hosts FILE`.
//! Thesis section 5 had six computers; each is a table here with its ssh target, its interface on the lab's network and
//! its system, and may say that a real KAME or UMIP guest stands there. `lab::section5` reads it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Error,
    machine::{Guest, System},
    topology::Plan,
};

/// How to reach one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As the thesis writes it.
    pub name: String,
    /// What ssh is given: `user@host`, or a name of the ssh configuration.
    pub ssh: String,
    /// An ssh configuration file in place of the user's.
    pub ssh_config: Option<PathBuf>,
    /// The interface on the lab's network.
    pub interface: String,
    /// What runs there.
    pub system: System,
    /// The node's program there.
    pub program: PathBuf,
    /// The real Mobile IPv6 stack that stands there in place of the node.
    pub guest: Option<Guest>,
}

/// The words of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Words {
    ssh_config: Option<PathBuf>,
    machine: BTreeMap<String, HostWords>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HostWords {
    ssh: String,
    interface: String,
    system: System,
    program: Option<PathBuf>,
    guest: Option<Guest>,
}

/// Reads the file, which has each machine of the plan; paths in it are relative to it.
///
/// # Errors
/// [`Error::Hosts`] naming the file and what is wrong in it, with the line where there is one.
pub fn read(file: &Path, plan: &Plan) -> Result<Vec<Host>, Error> {
    let wrong = |why: String| Error::Hosts { file: file.to_owned(), why };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mut words: Words =
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
    let beside = |path: PathBuf| file.parent().unwrap_or(Path::new(".")).join(path);
    let ssh_config = words.ssh_config.map(beside);
    let hosts = plan.machines.iter().map(|&name| {
        let missing = || wrong(format!("machine.{name} is missing: {} has it", plan.figure));
        let words = words.machine.remove(name).ok_or_else(missing)?;
        for (field, value) in [("ssh", &words.ssh), ("interface", &words.interface)] {
            // ssh and tcpdump would take it for an option.
            if value.is_empty() || value.starts_with('-') {
                return Err(wrong(format!("machine.{name}.{field}: {value:?} is no name")));
            }
        }
        Ok(Host {
            name: name.to_owned(),
            ssh: words.ssh,
            ssh_config: ssh_config.clone(),
            interface: words.interface,
            system: words.system,
            program: words.program.unwrap_or_else(|| PathBuf::from("mga-node")),
            guest: words.guest,
        })
    });
    let hosts = hosts.collect::<Result<_, _>>()?;
    match words.machine.keys().next() {
        Some(other) => Err(wrong(format!("machine.{other}: {} has no such machine", plan.figure))),
        None => Ok(hosts),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lab::figure11;

    const GOOD: &str = r#"
        ssh-config = "ssh_config"
        [machine]
        RT  = { ssh = "rt", interface = "vtnet1", system = "freebsd" }
        HAA = { ssh = "root@192.0.2.1", interface = "eth1", system = "linux" }
        AI1 = { ssh = "ai1", interface = "eth1", system = "linux", program = "/opt/mga-node" }
        AI2 = { ssh = "ai2", interface = "eth1", system = "linux" }
        AR1 = { ssh = "ar1", interface = "eth1", system = "linux" }
        [machine.AR2]
        ssh = "ar2"
        interface = "vr0"
        system = "freebsd"
        guest = { is = "KAME", start = "/root/lab start", stop = "/root/lab stop" }
    "#;

    fn parse(text: &str) -> Result<Vec<Host>, String> {
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("mga-hosts-XXXXXX")).unwrap();
        let file = directory.join("hosts.toml");
        fs::write(&file, text).unwrap();
        let result = read(&file, &figure11::plan()).map_err(|error| error.to_string());
        fs::remove_dir_all(&directory).unwrap();
        result
    }

    #[test]
    fn the_six_machines_are_read() {
        let hosts = parse(GOOD).unwrap();
        let host = |name: &str| hosts.iter().find(|host| host.name == name).unwrap();
        assert_eq!(hosts.len(), 6);
        assert_eq!(host("RT").system, System::FreeBsd);
        assert_eq!(host("HAA").program, Path::new("mga-node"));
        assert_eq!(host("AI1").program, Path::new("/opt/mga-node"));
        let config = host("AR1").ssh_config.as_ref().unwrap();
        assert_eq!(config.file_name().unwrap(), "ssh_config");
        assert!(config.is_absolute(), "relative to the file: {}", config.display());
        let guest = host("AR2").guest.as_ref().unwrap();
        assert_eq!((guest.is.as_str(), guest.register.as_deref()), ("KAME", None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("AI2 = {", "AI3 = {", "machine.AI2 is missing"),
            (
                "[machine.AR2]",
                "[machine.AR9]\nssh = \"x\"\ninterface=\"y\"\nsystem=\"linux\"\n[machine.AR2]",
                "machine.AR9",
            ),
            ("system = \"linux\" }", "system = \"plan9\" }", "line 5"),
            ("ssh = \"ai2\", ", "", "missing field `ssh`"),
            ("ssh = \"ai2\"", "ssh = \"-oProxyCommand=x\"", "machine.AI2.ssh"),
            ("interface = \"vtnet1\", ", "interface = \"\", ", "machine.RT.interface"),
            ("is = \"KAME\", ", "", "missing field `is`"),
            ("ssh-config", "ssh-konfig", "ssh-konfig"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(said) && error.contains("hosts.toml"), "{said}: {error}");
        }
        let error = read(Path::new("/nonexistent/hosts.toml"), &figure11::plan()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}

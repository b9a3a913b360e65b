//! Figure 11 as six machines with a real sshd each, for the lab's ssh way: the namespaces of `lab::topology`, entered only
//! by OpenSSH. Every connection starts its own sshd in the machine's network namespace (as inetd would) and in a mount
//! namespace in which users, sudo and tcpdump are what the machine shall have; the system around is not touched.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mga_node::lab::{
    figure11::{self, Node},
    topology::Topology,
};

/// On this machine the user has csh and needs sudo, as on a FreeBSD guest.
const CSH: Node = Node::Ar1;

/// By how many microseconds the clocks are ahead.
fn clock(node: Node) -> i64 {
    match node {
        Node::Ai1 => 3_600_000_000,
        Node::Ar2 => -750_000,
        Node::Haa => 12_345,
        _ => 0,
    }
}

/// A tcpdump that gives packets the time of another clock.
const TCPDUMP: &str = r#"#!/usr/bin/python3
import signal, struct, subprocess, sys
real = None
def end(*_):
    if real:
        real.terminate()
    else:
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
real = subprocess.Popen(["@REAL@"] + sys.argv[1:], stdout=subprocess.PIPE)
out = sys.stdout.buffer
def copy(count):
    octets = b""
    while len(octets) < count:
        more = real.stdout.read(count - len(octets))
        if not more:
            return None
        octets += more
    return octets
try:
    header = copy(24)
    if header:
        out.write(header)
        out.flush()
        while (record := copy(16)):
            seconds, micros, length, original = struct.unpack("=IIII", record)
            moved = seconds * 1000000 + micros + @AHEAD@
            out.write(struct.pack("=IIII", moved // 1000000, moved % 1000000, length, original) + copy(length))
            out.flush()
finally:
    # Also when nobody reads any more: the real one would notice that only with its next packet.
    real.terminate()
    status = real.wait()
sys.exit(status)
"#;

/// The machines, until this is dropped.
pub struct Machines {
    topology: Topology,
    directory: PathBuf,
}

impl Machines {
    /// Builds them; `None`, said aloud, where a program for it is not installed.
    pub fn build(program: &Path) -> Option<Machines> {
        for wanted in [
            "/usr/sbin/sshd",
            "/usr/bin/ssh-keygen",
            "/usr/bin/sudo",
            "/bin/csh",
            "/usr/sbin/inetutils-inetd",
        ] {
            if !Path::new(wanted).exists() {
                eprintln!("skipped: {wanted} is not installed; sh tests/prerequisites.sh does it");
                return None;
            }
        }
        // sshd refuses to begin without the directory it locks itself into.
        fs::create_dir_all("/run/sshd").unwrap();
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("mga-sshd-XXXXXX")).unwrap();
        let machines = Machines { topology: Topology::build(figure11::plan()).unwrap(), directory };
        machines.write("sudoers/lab", 0o440, "ariane ALL=(ALL) NOPASSWD: ALL\n");
        fs::create_dir(machines.path("home")).unwrap();
        let users = "root:x:0:0::/root:/bin/sh\nariane:x:1900:1900::@/home:/bin/csh\nnobody:x:65534:65534::/:/bin/false\n\
                     sshd:x:1901:65534::/run/sshd:/bin/false\ntcpdump:x:1902:65534::/:/bin/false\n";
        machines.write("passwd", 0o644, &users.replace('@', &machines.directory.display().to_string()));
        machines.write(
            "group",
            0o644,
            "root:x:0:\nariane:x:1900:\nnogroup:x:65534:\ntty:x:5:\ntcpdump:x:1902:\n",
        );
        machines.write("shadow", 0o600, "root:*:1::::::\nariane:*:1::::::\n");
        // Installed, for those who do not say where the program is.
        fs::create_dir(machines.path("programs")).unwrap();
        std::os::unix::fs::symlink(program, machines.path("programs/mga-node")).unwrap();
        // Vagrant, as far as it tells how its machines are reached.
        let vagrant = "#!/bin/sh\n[ \"$*\" = ssh-config ] && exec cat @/ssh_config\n";
        machines.write(
            "vagrant/vagrant",
            0o755,
            &vagrant.replace('@', &machines.directory.display().to_string()),
        );
        for key in ["host", "user"] {
            let file = machines.path(key);
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status();
            assert!(made.unwrap().success());
        }
        fs::copy("/usr/bin/tcpdump", machines.path("tcpdump")).unwrap();
        let mut config = String::new();
        let mut hosts = String::from("ssh-config = \"ssh_config\"\n");
        for node in Node::ALL {
            let name = node.file_name();
            machines.write_scripts(node);
            let user = if node == CSH { "ariane" } else { "root" };
            let namespace = machines.topology.namespace(node.name()).name();
            let directory = machines.directory.display();
            config.push_str(&format!(
                "Host {name}\nUser {user}\nProxyCommand ip netns exec {namespace} {directory}/enter-{name}\n"
            ));
            let interface = if node == Node::Rt { "n1" } else { "eth0" };
            let program = program.display();
            hosts.push_str(&format!(
                "machine.{} = {{ ssh = \"{name}\", interface = \"{interface}\", system = \"linux\", program = \"{program}\" }}\n",
                node.name()
            ));
        }
        let directory = machines.directory.display();
        config.push_str(&format!(
            "Host *\nIdentityFile {directory}/user\nIdentitiesOnly yes\nStrictHostKeyChecking no\n\
             UserKnownHostsFile /dev/null\n"
        ));
        machines.write("ssh_config", 0o600, &config);
        machines.write("hosts.toml", 0o644, &hosts);
        let own = "Protocol 2\nPermitRootLogin yes\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n";
        let own = format!("{own}HostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\n");
        machines.write("sshd_config", 0o644, &own);
        // The user's home is below it.
        fs::set_permissions(&machines.directory, fs::Permissions::from_mode(0o755)).unwrap();
        Some(machines)
    }

    /// What `--hosts` is given.
    pub fn hosts(&self) -> PathBuf {
        self.path("hosts.toml")
    }

    /// The processes in the machines' network namespaces, sshd's among them.
    pub fn processes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for node in Node::ALL {
            let name = self.topology.namespace(node.name()).name();
            let output = Command::new("ip").args(["netns", "pids", name]).output().unwrap();
            for process in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                all.push(format!("{} {}", node.name(), String::from_utf8_lossy(&command).replace('\0', " ")));
            }
        }
        all
    }

    /// Waits until nothing runs on any machine.
    pub fn wait_until_idle(&self) {
        let begin = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "left running: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What makes of a network namespace the machine, and ends in its sshd.
    fn write_scripts(&self, node: Node) {
        let (name, directory) = (node.file_name(), self.directory.display());
        let real = self.path("tcpdump").display().to_string();
        let tcpdump = TCPDUMP.replace("@REAL@", &real).replace("@AHEAD@", &clock(node).to_string());
        self.write(&format!("tcpdump-{name}"), 0o755, &tcpdump);
        let mut script = String::from("#!/bin/sh\nset -e\n");
        for (ours, theirs) in [("passwd", "/etc/passwd"), ("group", "/etc/group"), ("shadow", "/etc/shadow")]
        {
            script.push_str(&format!("mount --bind {directory}/{ours} {theirs}\n"));
        }
        script.push_str(&format!("mount --bind {directory}/sudoers /etc/sudoers.d\n"));
        script.push_str(&format!("mount --bind {directory}/programs /usr/local/sbin\n"));
        if clock(node) != 0 {
            script.push_str(&format!("mount --bind {directory}/tcpdump-{name} /usr/bin/tcpdump\n"));
        }
        script.push_str(&format!("exec /usr/sbin/sshd -i -q -f {directory}/sshd_config\n"));
        self.write(&format!("enter-{name}"), 0o755, &script);
    }

    /// Another hosts file, with `to` in place of `from` in it.
    pub fn hosts_with(&self, from: &str, to: &str) -> PathBuf {
        let text = fs::read_to_string(self.hosts()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.write("other.toml", 0o644, &text.replacen(from, to, 1));
        self.path("other.toml")
    }

    /// A directory for the test's own files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command on a machine, as its user would by ssh.
    pub fn ssh(&self, name: &str, line: &str) -> String {
        let config = self.path("ssh_config");
        let output =
            Command::new("ssh").arg("-F").arg(config).args([name, line]).stdin(Stdio::null()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{name}: {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

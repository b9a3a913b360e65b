//! Says what is built on which system, because only `platform` may name operating systems (design section 2): `cfg(lab)`
//! where its wires and hosts, network namespaces, exist (Linux, feature `capture`), `cfg(mga_ebpf)` where the fast path
//! does (Linux, feature `ebpf`), whose programs it compiles or takes as they lie in the repository. Run by Cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: &str = "src/forwarding/ebpf/programs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(lab)");
    println!("cargo::rustc-check-cfg=cfg(mga_ebpf)");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if linux && std::env::var_os("CARGO_FEATURE_CAPTURE").is_some() {
        println!("cargo::rustc-cfg=lab");
    }
    if linux && std::env::var_os("CARGO_FEATURE_EBPF").is_some() {
        println!("cargo::rustc-cfg=mga_ebpf");
        fast_path();
    }
}

/// Leaves the kernel's programs in the output folder.
fn fast_path() {
    println!("cargo::rerun-if-changed={PROGRAMS}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("Cargo says where"));
    let chosen = std::env::var_os("CLANG");
    let compiler = chosen.clone().unwrap_or_else(|| "clang".into());
    let built = Command::new("sh").arg(format!("{PROGRAMS}/build.sh")).arg(&compiler).arg(&out).output();
    let why = match built {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    // Whoever names a compiler wants it used; whoever has none builds from what was compiled for them.
    assert!(chosen.is_none(), "{}: {why}", compiler.display());
    for program in ["agent", "responder", "initiator"] {
        let name = format!("{program}.o");
        std::fs::copy(Path::new(PROGRAMS).join(&name), out.join(&name))
            .expect("the repository has the objects");
    }
}

//! Says where the lab is built: its wires and hosts are Linux's network namespaces, so it is there with the feature
//! `capture` on Linux and nowhere else. A build script, because only `platform` may name operating systems (design
//! section 2). Run by Cargo; the library, the command line and the lab's tests ask for `cfg(lab)`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(lab)");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if linux && std::env::var_os("CARGO_FEATURE_CAPTURE").is_some() {
        println!("cargo::rustc-cfg=lab");
    }
}

//! Brings the bundled engine's archive to where `src/bundle.rs` can include it.
//!
//! With feature `embedded-postgres`, one artifact crate per target carries the archive. That crate has no Rust API and
//! its build script announces nothing, so this script looks for the package itself: first among the unpacked packages
//! of the registry (no process started), then by asking Cargo (vendored sources, replaced registries). The digest
//! below decides what is accepted, whichever way it was found. `MUSTER_ENGINE_ARCHIVE` names the file outright.
//!
//! A target without an artifact compiles, and `muster` says at run time that it has no engine for it.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

const CRATE_VERSION: &str = "0.2.7";
const ENGINE_VERSION: &str = "17.5";
const ARCHIVE: &str = "pglite-runtime.tar.zst";
const OVERRIDE: &str = "MUSTER_ENGINE_ARCHIVE";

/// Target and SHA-256 of `lib/pglite-runtime.tar.zst` in `pglite-rs-lib-<target>` at `CRATE_VERSION`.
const DIGESTS: [(&str, &str); 4] = [
    ("x86_64-unknown-linux-gnu", "e3fb68210df2e40e534a5db9886a4af5d56d4ef9ca30adeefd437069bda95073"),
    ("aarch64-unknown-linux-gnu", "43e7cb060965465db4eb79080d171f6b00f7e137d3aeba94f3c05de64cc805a9"),
    ("x86_64-apple-darwin", "799a11b915d3dd17a8538ac2367e77834b9e198c6aabbce90b58d53ac9b4adb2"),
    ("aarch64-apple-darwin", "d269fc00265ac02b776878ebc8576c7fe6ca5be3d1387e15d5aa969aeaec62ee"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBEDDED_POSTGRES").is_none() {
        return Ok(());
    }
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let Some((_, digest)) = DIGESTS.iter().find(|(known, _)| *known == target) else {
        fs::write(out.join("engine_bundle.rs"), "const BUNDLE: Option<Bundle> = None;\n")?;
        return Ok(());
    };

    let found = find(&target, digest)?;
    println!("cargo:rerun-if-changed={}", found.display());
    fs::write(out.join(ARCHIVE), fs::read(&found)?)?;
    let tag = digest.get(..12).unwrap_or(digest);
    fs::write(
        out.join("engine_bundle.rs"),
        format!(
            "const BUNDLE: Option<Bundle> = Some(Bundle {{\n    \
                 tag: \"{ENGINE_VERSION}-{tag}\",\n    \
                 archive: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{ARCHIVE}\")),\n}});\n"
        ),
    )?;
    Ok(())
}

/// The first archive with the right digest.
fn find(target: &str, digest: &str) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = env::var_os(OVERRIDE).map(PathBuf::from) {
        return match sha256(&path)? == digest {
            true => Ok(path),
            false => {
                Err(format!("{OVERRIDE} names {}, whose SHA-256 is not {digest}", path.display()).into())
            }
        };
    }
    let package = format!("pglite-rs-lib-{target}");
    let mut seen = in_registry(&package);
    if let Some(path) = matching(&seen, digest) {
        return Ok(path);
    }
    match ask_cargo(&package, target) {
        Ok(more) => seen.extend(more),
        Err(error) => {
            println!("cargo:warning=cargo metadata did not say where {package} lies: {error}")
        }
    }
    matching(&seen, digest).ok_or_else(|| {
        format!(
            "{package} {CRATE_VERSION} was not found with lib/{ARCHIVE} of SHA-256 {digest} (looked at {seen:?}); run \
             `cargo fetch`, set {OVERRIDE}, or build without the feature `embedded-postgres`"
        )
        .into()
    })
}

fn matching(candidates: &[PathBuf], digest: &str) -> Option<PathBuf> {
    candidates.iter().find(|path| sha256(path).is_ok_and(|found| found == digest)).cloned()
}

/// Where Cargo unpacks the packages of registries.
fn in_registry(package: &str) -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let Some(Ok(sources)) = home.map(|home| fs::read_dir(home.join("registry/src"))) else {
        return Vec::new();
    };
    sources
        .flatten()
        .map(|source| source.path().join(format!("{package}-{CRATE_VERSION}")).join("lib").join(ARCHIVE))
        .filter(|path| path.is_file())
        .collect()
}

/// Cargo's own answer. Never on the network: what is compiled has been downloaded already.
fn ask_cargo(package: &str, target: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let output = Command::new(variable("CARGO")?)
        .args(["metadata", "--offline", "--format-version=1", "--filter-platform", target, "--manifest-path"])
        .arg(Path::new(&variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages =
        metadata.get("packages").and_then(|packages| packages.as_array()).ok_or("no packages listed")?;
    Ok(packages
        .iter()
        .filter(|entry| entry.get("name").and_then(|name| name.as_str()) == Some(package))
        .filter_map(|entry| entry.get("manifest_path")?.as_str())
        .map(|manifest| Path::new(manifest).with_file_name("lib").join(ARCHIVE))
        .collect())
}

fn sha256(path: &Path) -> Result<String, std::io::Error> {
    Ok(Sha256::digest(fs::read(path)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set"))
}

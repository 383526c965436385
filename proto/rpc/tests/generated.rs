//! Generates messages and services from the schema and compares them with what is checked in.
//!
//! `PICKET_REGENERATE=1 cargo test -p picket-rpc --test generated` writes them instead.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost_types::FileDescriptorSet;

const FILES: [&str; 5] = ["event", "batch", "command", "agent", "operator"];

#[test]
fn generated_code_is_that_of_the_schema() -> Result<(), Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let descriptors = compile(&proto.join("schema"))?;
    let fresh = tempfile::tempdir()?;
    generate_messages(descriptors.clone(), fresh.path())?;
    settle(fresh.path(), &proto.join("src/gen"))?;
    generate_services(descriptors, fresh.path())?;
    settle(fresh.path(), &proto.join("rpc/src/gen"))
}

fn compile(schema: &Path) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let files = FILES.map(|name| format!("picket/v1/{name}.proto"));
    Ok(protox::Compiler::new([schema])?
        .include_source_info(true)
        .open_files(files)?
        .file_descriptor_set())
}

fn generate_messages(descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    prost_build::Config::new()
        .out_dir(out)
        .compile_fds(descriptors)?;
    Ok(())
}

fn generate_services(descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        .out_dir(out)
        .codec_path("crate::codec::Codec")
        .extern_path(".picket.v1", "::picket_proto::v1")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Compares (or, when asked, writes) the one file that was generated.
fn settle(fresh: &Path, kept: &Path) -> Result<(), Box<dyn Error>> {
    let name = PathBuf::from("picket.v1.rs");
    let text = fs::read_to_string(fresh.join(&name))?;
    if std::env::var_os("PICKET_REGENERATE").is_some() {
        fs::write(kept.join(&name), &text)?;
    }
    let same = fs::read_to_string(kept.join(&name))? == text;
    assert!(
        same,
        "{} differs from the schema; see the head of this test",
        kept.join(name).display()
    );
    Ok(())
}

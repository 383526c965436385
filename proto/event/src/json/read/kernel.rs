//! Modules, programs, mounts, rings and devices from JSON.

use super::object::{Object, Result};
use crate::{Bpf, Device, IoUring, Module, Mount};

pub(super) fn module(object: Object<'_>) -> Result<Module> {
    Ok(Module {
        action: object.word("action")?,
        name: object.text("name")?,
        path: object.text("path")?,
        parameters: object.text("parameters")?,
        result: object.signed("result")?,
    })
}

pub(super) fn bpf(object: Object<'_>) -> Result<Bpf> {
    Ok(Bpf {
        action: object.word("action")?,
        prog_type: object.word("prog_type")?,
        name: object.text("name")?,
        instructions: object.small("instructions")?,
        attach_type: object.word("attach_type")?,
        result: object.signed("result")?,
    })
}

pub(super) fn mount(object: Object<'_>) -> Result<Mount> {
    Ok(Mount {
        action: object.word("action")?,
        source: object.text("source")?,
        target: object.text("target")?,
        fs_type: object.text("fs_type")?,
        flags: object.number("flags")?,
        result: object.signed("result")?,
    })
}

pub(super) fn io_uring(object: Object<'_>) -> Result<IoUring> {
    Ok(IoUring {
        action: object.word("action")?,
        opcode: object.word("opcode")?,
        flags: object.small("flags")?,
        entries: object.small("entries")?,
    })
}

pub(super) fn device(object: Object<'_>) -> Result<Device> {
    Ok(Device {
        action: object.word("action")?,
        subsystem: object.word("subsystem")?,
        path: object.text("path")?,
        name: object.text("name")?,
        device_type: object.word("device_type")?,
        driver: object.word("driver")?,
        vendor_id: object.word("vendor_id")?,
        product_id: object.word("product_id")?,
    })
}

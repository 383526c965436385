//! Modules, programs, mounts, rings and devices to JSON.

use super::object::{Json, Object};
use crate::{Bpf, Device, IoUring, Module, Mount};

pub(super) fn module(module: &Module) -> Json {
    Object::new()
        .word("action", &module.action)
        .text("name", &module.name)
        .text("path", &module.path)
        .text("parameters", &module.parameters)
        .maybe("result", module.result)
        .done()
}

pub(super) fn bpf(bpf: &Bpf) -> Json {
    Object::new()
        .word("action", &bpf.action)
        .word("prog_type", &bpf.prog_type)
        .text("name", &bpf.name)
        .maybe("instructions", bpf.instructions)
        .word("attach_type", &bpf.attach_type)
        .maybe("result", bpf.result)
        .done()
}

pub(super) fn mount(mount: &Mount) -> Json {
    Object::new()
        .word("action", &mount.action)
        .text("source", &mount.source)
        .text("target", &mount.target)
        .text("fs_type", &mount.fs_type)
        .maybe("flags", mount.flags)
        .maybe("result", mount.result)
        .done()
}

pub(super) fn io_uring(ring: &IoUring) -> Json {
    Object::new()
        .word("action", &ring.action)
        .word("opcode", &ring.opcode)
        .maybe("flags", ring.flags)
        .maybe("entries", ring.entries)
        .done()
}

pub(super) fn device(device: &Device) -> Json {
    Object::new()
        .word("action", &device.action)
        .word("subsystem", &device.subsystem)
        .text("path", &device.path)
        .text("name", &device.name)
        .word("device_type", &device.device_type)
        .word("driver", &device.driver)
        .word("vendor_id", &device.vendor_id)
        .word("product_id", &device.product_id)
        .done()
}

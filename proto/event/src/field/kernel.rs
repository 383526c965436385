//! Fields of modules, programs, mounts, rings and devices.

use super::Row;
use super::read::{number, text, word};
use crate::{Bpf, Detail, Device, Event, IoUring, Module, Mount};

pub(super) const FIELDS: &[Row] = &[
    ("module.action", |e| word(&module(e)?.action)),
    ("module.name", |e| text(&module(e)?.name)),
    ("module.path", |e| text(&module(e)?.path)),
    ("module.parameters", |e| text(&module(e)?.parameters)),
    ("module.result", |e| number(module(e)?.result?)),
    ("bpf.action", |e| word(&bpf(e)?.action)),
    ("bpf.prog_type", |e| word(&bpf(e)?.prog_type)),
    ("bpf.name", |e| text(&bpf(e)?.name)),
    ("bpf.instructions", |e| number(bpf(e)?.instructions?)),
    ("bpf.attach_type", |e| word(&bpf(e)?.attach_type)),
    ("bpf.result", |e| number(bpf(e)?.result?)),
    ("mount.action", |e| word(&mount(e)?.action)),
    ("mount.source", |e| text(&mount(e)?.source)),
    ("mount.target", |e| text(&mount(e)?.target)),
    ("mount.fs_type", |e| text(&mount(e)?.fs_type)),
    ("mount.flags", |e| number(mount(e)?.flags?)),
    ("mount.result", |e| number(mount(e)?.result?)),
    ("io_uring.action", |e| word(&ring(e)?.action)),
    ("io_uring.opcode", |e| word(&ring(e)?.opcode)),
    ("io_uring.flags", |e| number(ring(e)?.flags?)),
    ("io_uring.entries", |e| number(ring(e)?.entries?)),
    ("device.action", |e| word(&device(e)?.action)),
    ("device.subsystem", |e| word(&device(e)?.subsystem)),
    ("device.path", |e| text(&device(e)?.path)),
    ("device.name", |e| text(&device(e)?.name)),
    ("device.device_type", |e| word(&device(e)?.device_type)),
    ("device.driver", |e| word(&device(e)?.driver)),
    ("device.vendor_id", |e| word(&device(e)?.vendor_id)),
    ("device.product_id", |e| word(&device(e)?.product_id)),
];

fn module(event: &Event) -> Option<&Module> {
    match &event.detail {
        Some(Detail::Module(it)) => Some(it),
        _ => None,
    }
}

fn bpf(event: &Event) -> Option<&Bpf> {
    match &event.detail {
        Some(Detail::Bpf(it)) => Some(it),
        _ => None,
    }
}

fn mount(event: &Event) -> Option<&Mount> {
    match &event.detail {
        Some(Detail::Mount(it)) => Some(it),
        _ => None,
    }
}

fn ring(event: &Event) -> Option<&IoUring> {
    match &event.detail {
        Some(Detail::IoUring(it)) => Some(it),
        _ => None,
    }
}

fn device(event: &Event) -> Option<&Device> {
    match &event.detail {
        Some(Detail::Device(it)) => Some(it),
        _ => None,
    }
}

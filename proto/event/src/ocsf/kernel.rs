//! Memory, modules, programs and devices.

use super::activity::{KERNEL, KERNEL_EXTENSION, MEMORY, Mapped, PERIPHERAL};
use super::actor::process_or_unknown;
use super::part::{Part, UNKNOWN, file_at, name_of};
use crate::{Bpf, Device, Event, MemExec, Module, Text};

pub(super) fn mem_exec(event: &Event, memory: &MemExec) -> Mapped {
    let activity = match (memory.call.as_str(), memory.backing.as_str()) {
        ("mmap", "anonymous") => (1, "Allocate Page"),
        ("mmap", _) => (9, "Map View"),
        _ => (2, "Modify Page"),
    };
    let attributes = Part::new()
        .part("process", Some(process_or_unknown(event)))
        .put("base_address", format!("{:#x}", memory.address))
        .put("size", memory.length)
        .put("requested_permissions", memory.protection);
    Mapped::new(MEMORY, activity).with(attributes).taking(&[
        "mem_exec.address",
        "mem_exec.length",
        "mem_exec.protection",
    ])
}

pub(super) fn module(module: &Module) -> Mapped {
    let mapped = match module.action.as_str() {
        "load" => Mapped::new(KERNEL_EXTENSION, (1, "Load")),
        "unload" => Mapped::new(KERNEL_EXTENSION, (2, "Unload")),
        other => Mapped::other(KERNEL_EXTENSION, other),
    };
    let file = if module.path.is_empty() {
        Part::new()
            .put("name", said(&module.name))
            .put("type_id", 0)
    } else {
        file_at(&module.path, 1)
    };
    let driver = Part::new().part("file", Some(file));
    mapped
        .with(Part::new().part("driver", Some(driver)))
        .result(module.result)
        .taking(&["module.path", "module.result"])
}

pub(super) fn bpf(bpf: &Bpf) -> Mapped {
    let mapped = match bpf.action.as_str() {
        "prog_load" => Mapped::new(KERNEL, (1, "Create")),
        "link_create" | "raw_tracepoint_open" | "prog_attach" => Mapped::new(KERNEL, (4, "Invoke")),
        other => Mapped::other(KERNEL, other),
    };
    let kernel = Part::new()
        .put("name", said(&bpf.name))
        .put("type_id", 99)
        .put("type", "BPF program")
        .put("system_call", "bpf");
    mapped
        .with(Part::new().part("kernel", Some(kernel)))
        .result(bpf.result)
        .taking(&["bpf.name"])
}

pub(super) fn device(device: &Device) -> Mapped {
    let mapped = match device.action.as_str() {
        "add" => Mapped::new(PERIPHERAL, (1, "Connect")),
        "remove" => Mapped::new(PERIPHERAL, (2, "Disconnect")),
        "online" | "bind" => Mapped::new(PERIPHERAL, (3, "Enable")),
        "offline" | "unbind" => Mapped::new(PERIPHERAL, (4, "Disable")),
        other => Mapped::other(PERIPHERAL, other),
    };
    let name = if device.name.is_empty() {
        name_of(&device.path)
    } else {
        device.name.lossy().into_owned()
    };
    let vendors = (!device.vendor_id.is_empty()).then(|| vec![device.vendor_id.as_str()]);
    let part = Part::new()
        .put("name", name)
        .text("uid", &device.path)
        .word("class", &device.subsystem)
        .word("model", &device.product_id)
        .word("type", &device.device_type)
        .put(
            "type_id",
            if device.device_type.is_empty() { 0 } else { 99 },
        )
        .maybe("vendor_id_list", vendors);
    mapped
        .with(Part::new().part("peripheral_device", Some(part)))
        .by(Part::new().put("app_name", "kernel"))
        .taking(DEVICE)
}

const DEVICE: &[&str] = &[
    "device.path",
    "device.name",
    "device.subsystem",
    "device.device_type",
    "device.vendor_id",
    "device.product_id",
];

fn said(name: &Text) -> String {
    if name.is_empty() {
        UNKNOWN.to_owned()
    } else {
        name.lossy().into_owned()
    }
}

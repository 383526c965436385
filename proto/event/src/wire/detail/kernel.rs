//! Modules, programs, mounts, rings and devices on the wire.

use picket_proto::v1;

use crate::{Bpf, Device, IoUring, Module, Mount};

impl From<Module> for v1::Module {
    fn from(module: Module) -> Self {
        Self {
            action: module.action,
            name: module.name.into_bytes(),
            path: module.path.into_bytes(),
            parameters: module.parameters.into_bytes(),
            result: module.result,
        }
    }
}

impl From<v1::Module> for Module {
    fn from(wire: v1::Module) -> Self {
        Self {
            action: wire.action,
            name: wire.name.into(),
            path: wire.path.into(),
            parameters: wire.parameters.into(),
            result: wire.result,
        }
    }
}

impl From<Bpf> for v1::Bpf {
    fn from(bpf: Bpf) -> Self {
        Self {
            action: bpf.action,
            prog_type: bpf.prog_type,
            name: bpf.name.into_bytes(),
            instructions: bpf.instructions,
            attach_type: bpf.attach_type,
            result: bpf.result,
        }
    }
}

impl From<v1::Bpf> for Bpf {
    fn from(wire: v1::Bpf) -> Self {
        Self {
            action: wire.action,
            prog_type: wire.prog_type,
            name: wire.name.into(),
            instructions: wire.instructions,
            attach_type: wire.attach_type,
            result: wire.result,
        }
    }
}

impl From<Mount> for v1::Mount {
    fn from(mount: Mount) -> Self {
        Self {
            action: mount.action,
            source: mount.source.into_bytes(),
            target: mount.target.into_bytes(),
            fs_type: mount.fs_type.into_bytes(),
            flags: mount.flags,
            result: mount.result,
        }
    }
}

impl From<v1::Mount> for Mount {
    fn from(wire: v1::Mount) -> Self {
        Self {
            action: wire.action,
            source: wire.source.into(),
            target: wire.target.into(),
            fs_type: wire.fs_type.into(),
            flags: wire.flags,
            result: wire.result,
        }
    }
}

impl From<IoUring> for v1::IoUring {
    fn from(ring: IoUring) -> Self {
        Self {
            action: ring.action,
            opcode: ring.opcode,
            flags: ring.flags,
            entries: ring.entries,
        }
    }
}

impl From<v1::IoUring> for IoUring {
    fn from(wire: v1::IoUring) -> Self {
        Self {
            action: wire.action,
            opcode: wire.opcode,
            flags: wire.flags,
            entries: wire.entries,
        }
    }
}

impl From<Device> for v1::Device {
    fn from(device: Device) -> Self {
        Self {
            action: device.action,
            subsystem: device.subsystem,
            path: device.path.into_bytes(),
            name: device.name.into_bytes(),
            device_type: device.device_type,
            driver: device.driver,
            vendor_id: device.vendor_id,
            product_id: device.product_id,
        }
    }
}

impl From<v1::Device> for Device {
    fn from(wire: v1::Device) -> Self {
        Self {
            action: wire.action,
            subsystem: wire.subsystem,
            path: wire.path.into(),
            name: wire.name.into(),
            device_type: wire.device_type,
            driver: wire.driver,
            vendor_id: wire.vendor_id,
            product_id: wire.product_id,
        }
    }
}

//! What changes the kernel, or what the kernel announces: modules, programs, mounts, rings, devices.

use crate::Text;

/// A kernel module came or went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Module {
    /// `load` or `unload`.
    pub action: String,
    /// Its name.
    pub name: Text,
    /// The file it was loaded from, where it was one.
    pub path: Text,
    /// Its parameters.
    pub parameters: Text,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// A BPF program was loaded or attached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bpf {
    /// `prog_load`, `link_create`, `raw_tracepoint_open` or `prog_attach`.
    pub action: String,
    /// Its type without `BPF_PROG_TYPE_`, in lower case; a number if it has no name here.
    pub prog_type: String,
    /// Its name.
    pub name: Text,
    /// How many instructions it has.
    pub instructions: Option<u32>,
    /// To what it is to be attached.
    pub attach_type: String,
    /// A descriptor, or a negative errno.
    pub result: Option<i32>,
}

/// A file system was mounted, moved or unmounted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mount {
    /// `mount`, `bind`, `remount`, `move`, `unmount`, `pivot_root` or `fsmount`.
    pub action: String,
    /// What.
    pub source: Text,
    /// Where.
    pub target: Text,
    /// Type of the file system.
    pub fs_type: Text,
    /// The `MS_` or `MNT_` bits.
    pub flags: Option<u64>,
    /// 0 or a negative errno.
    pub result: Option<i32>,
}

/// An `io_uring` was set up or used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IoUring {
    /// `setup` or `submit`.
    pub action: String,
    /// Of a submitted request: `openat`, `connect`, `unlinkat`...
    pub opcode: String,
    /// The `IORING_SETUP_` bits.
    pub flags: Option<u32>,
    /// How many entries were asked for.
    pub entries: Option<u32>,
}

/// A device came or went, as the kernel announces it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// `add`, `remove`, `change`, `move`, `online`, `offline`, `bind` or `unbind`.
    pub action: String,
    /// `usb`, `block`...
    pub subsystem: String,
    /// Its path below `/sys`.
    pub path: Text,
    /// Its node below `/dev`.
    pub name: Text,
    /// Its type within the subsystem.
    pub device_type: String,
    /// Its driver.
    pub driver: String,
    /// Who makes it.
    pub vendor_id: String,
    /// Which of the maker's products it is.
    pub product_id: String,
}

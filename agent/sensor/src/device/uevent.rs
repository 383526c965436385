//! One announcement: `ACTION@PATH`, then variables, each ended by a NUL. Pure, for any bytes.

use picket_event::Device;

/// What the kernel said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uevent {
    /// Of which device, and what became of it.
    pub device: Device,
    /// The kernel's number of it.
    pub number: Option<u64>,
}

/// Why bytes are no announcement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UeventError {
    /// It does not begin with an action and a path.
    #[error("announcement has no head")]
    NoHead,
    /// The action is none that the kernel has.
    #[error("announcement of an unknown action")]
    Action,
    /// Longer than the kernel makes them.
    #[error("announcement is too long")]
    TooLong,
}

/// Reads one announcement.
pub fn parse_uevent(message: &[u8]) -> Result<Uevent, UeventError> {
    let mut parts = message.split(|byte| *byte == 0);
    let head = parts.next().unwrap_or_default();
    let at = head.iter().position(|byte| *byte == b'@');
    let (action, path) = at
        .and_then(|at| Some((head.get(..at)?, head.get(at.checked_add(1)?..)?)))
        .ok_or(UeventError::NoHead)?;
    let action = ACTIONS.iter().find(|known| known.as_bytes() == action);
    let mut device = Device {
        action: (*action.ok_or(UeventError::Action)?).to_owned(),
        path: path.into(),
        ..Device::default()
    };
    let mut number = None;
    for part in parts {
        if let Some((name, value)) = variable(part) {
            note(&mut device, name, value);
            if name == b"SEQNUM" {
                number = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok());
            }
        }
    }
    Ok(Uevent { device, number })
}

fn note(device: &mut Device, name: &[u8], value: &[u8]) {
    match name {
        b"SUBSYSTEM" => device.subsystem = word(value),
        b"DEVTYPE" => device.device_type = word(value),
        b"DRIVER" => device.driver = word(value),
        b"DEVNAME" => device.name = value.into(),
        b"INTERFACE" if device.name.is_empty() => device.name = value.into(),
        b"PRODUCT" | b"PCI_ID" | b"HID_ID" => note_ids(device, name, value),
        _ => {}
    }
}

/// `PRODUCT` of usb: vendor/product/version; of input: bus/vendor/product/version. `PCI_ID`: vendor:product.
/// `HID_ID`: bus:vendor:product.
fn note_ids(device: &mut Device, name: &[u8], value: &[u8]) {
    let is_separator = |byte: &u8| matches!(byte, b'/' | b':');
    let fields: Vec<&[u8]> = value.split(is_separator).take(4).collect();
    let pair = match (name, fields.as_slice()) {
        (b"PRODUCT", [_, vendor, product, _] | [vendor, product, _])
        | (b"HID_ID", [_, vendor, product])
        | (b"PCI_ID", [vendor, product]) => hexadecimal(vendor).zip(hexadecimal(product)),
        _ => None,
    };
    if let Some((vendor, product)) = pair {
        device.vendor_id = vendor;
        device.product_id = product;
    }
}

/// At least four digits, as vendors are written.
fn hexadecimal(digits: &[u8]) -> Option<String> {
    let digits = std::str::from_utf8(digits).ok()?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    Some(format!("{number:04x}"))
}

fn variable(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = part.iter().position(|byte| *byte == b'=')?;
    Some((part.get(..end)?, part.get(end.checked_add(1)?..)?))
}

fn word(value: &[u8]) -> String {
    let value = value.get(..MAX_WORD).unwrap_or(value);
    String::from_utf8_lossy(value).into_owned()
}

/// All actions of the kernel.
const ACTIONS: &[&str] = &[
    "add", "remove", "change", "move", "online", "offline", "bind", "unbind",
];
/// Names of subsystems and drivers are short.
const MAX_WORD: usize = 64;

#[cfg(test)]
mod tests {
    use picket_event::Text;
    use proptest::prelude::*;

    use super::*;

    fn told(message: &str) -> Device {
        parse_uevent(message.as_bytes()).unwrap().device
    }

    #[test]
    fn a_usb_device_has_its_maker_and_its_node() {
        let device = told(
            "add@/devices/pci0000:00/usb1/1-1\0ACTION=add\0DEVPATH=/devices/pci0000:00/usb1/1-1\0\
             SUBSYSTEM=usb\0MAJOR=189\0MINOR=1\0DEVNAME=bus/usb/001/002\0DEVTYPE=usb_device\0DRIVER=usb\0\
             PRODUCT=46d/c52b/1211\0TYPE=0/0/0\0SEQNUM=4711\0",
        );
        let expected = Device {
            action: "add".to_owned(),
            subsystem: "usb".to_owned(),
            path: Text::from("/devices/pci0000:00/usb1/1-1"),
            name: Text::from("bus/usb/001/002"),
            device_type: "usb_device".to_owned(),
            driver: "usb".to_owned(),
            vendor_id: "046d".to_owned(),
            product_id: "c52b".to_owned(),
        };
        assert_eq!(device, expected);
    }

    #[test]
    fn each_bus_writes_its_numbers_in_its_own_way() {
        for (variable, vendor, product) in [
            ("PRODUCT=3/46d/c52b/111", "046d", "c52b"),
            ("PCI_ID=8086:1237", "8086", "1237"),
            ("HID_ID=0003:0000046D:0000C52B", "046d", "c52b"),
            ("PRODUCT=what", "", ""),
            ("PCI_ID=8086:xyz", "", ""),
        ] {
            let device = told(&format!("add@/d\0{variable}\0"));
            assert_eq!(
                (device.vendor_id.as_str(), device.product_id.as_str()),
                (vendor, product),
                "{variable}"
            );
        }
    }

    #[test]
    fn a_network_interface_has_the_name_that_people_know() {
        let device = told("remove@/devices/virtual/net/d0\0SUBSYSTEM=net\0INTERFACE=d0\0");
        assert_eq!(device.name, Text::from("d0"));
    }

    #[test]
    fn what_is_no_announcement_is_refused() {
        assert_eq!(parse_uevent(b""), Err(UeventError::NoHead));
        assert_eq!(parse_uevent(b"libudev\0\xfe\xed"), Err(UeventError::NoHead));
        assert_eq!(parse_uevent(b"explode@/d\0"), Err(UeventError::Action));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            drop(parse_uevent(&bytes));
        }

        #[test]
        fn words_stay_short_whatever_a_driver_writes(
            name in "SUBSYSTEM|DRIVER|DEVTYPE|PRODUCT|SEQNUM|HID_ID",
            value in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            let message = [b"add@/d\0", name.as_bytes(), b"=", &value, b"\0"].concat();
            let device = parse_uevent(&message).unwrap().device;
            for word in [&device.subsystem, &device.driver, &device.device_type] {
                prop_assert!(word.len() <= 3 * MAX_WORD);
            }
            prop_assert!(device.vendor_id.len() <= 8);
        }
    }
}

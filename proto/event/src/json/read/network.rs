//! Connections and names from JSON.

use super::object::{Object, Result};
use crate::{Dns, Network};

pub(super) fn network(object: Object<'_>) -> Result<Network> {
    Ok(Network {
        proto: object.word("proto")?,
        direction: object.word("direction")?,
        local_ip: object.ip("local_ip")?,
        local_port: object.small("local_port")?.unwrap_or(0),
        remote_ip: object.ip("remote_ip")?,
        remote_port: object.small("remote_port")?.unwrap_or(0),
        bytes_in: object.number("bytes_in")?,
        bytes_out: object.number("bytes_out")?,
        result: object.signed("result")?,
    })
}

pub(super) fn dns(object: Object<'_>) -> Result<Dns> {
    Ok(Dns {
        query: object.text("query")?,
        record_type: object.word("type")?,
        answers: object.words("answers")?,
        rcode: object.small("rcode")?,
        server_ip: object.ip("server_ip")?,
        response: object.flag("response")?,
    })
}

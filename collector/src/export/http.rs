//! Groups of events by HTTP: to a webhook, one event a line, or to a receiver of OpenTelemetry's logs.
//!
//! # Invariants
//!
//! - A group was handed over only when the server answered each of its requests with 2xx.
//! - A request that is sent again has the same `Idempotency-Key`.

use std::fs;
use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use picket_seal::Digest;
use tokio::task::JoinSet;

use super::form::Message;
use super::otlp;
use super::settings::{Endpoint, Format};
use super::sink::{PATIENCE, SinkError, connect};

/// A server, connected to as long as that works.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    format: Format,
    open: Option<Connection>,
}

struct Connection {
    requests: SendRequest<Full<Bytes>>,
    authorization: Option<HeaderValue>,
    /// Drives it, and ends with it.
    _driver: JoinSet<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, format: Format) -> Self {
        Self {
            endpoint,
            format,
            open: None,
        }
    }

    /// Sends all of them, or fails and sends all of them again the next time. Says how many the server threw away.
    pub(super) async fn send(&mut self, messages: &[Message]) -> Result<u64, SinkError> {
        let mut rejected = 0_u64;
        for part in parts(messages) {
            let body = Bytes::from(self.body(part));
            let posting = tokio::time::timeout(PATIENCE, self.post(body));
            let answer = posting.await.unwrap_or_else(|_elapsed| {
                let at = self.endpoint.at.clone();
                Err(SinkError::Late { at })
            });
            let answer = answer.inspect_err(|_failed| self.open = None)?;
            if self.format == Format::Otlp {
                rejected = rejected.saturating_add(otlp::rejected(&answer));
            }
        }
        Ok(rejected)
    }

    fn body(&self, messages: &[Message]) -> String {
        if self.format == Format::Otlp {
            return otlp::request(messages);
        }
        let lines = messages.iter().map(|message| format!("{}\n", message.text));
        lines.collect()
    }

    async fn post(&mut self, body: Bytes) -> Result<Bytes, SinkError> {
        let failed = network(&self.endpoint.at);
        let request = |authorization: Option<&HeaderValue>| {
            let mut request = Request::builder()
                .method(Method::POST)
                .uri(self.endpoint.path.as_str())
                .header(HOST, self.endpoint.at.as_str())
                .header(USER_AGENT, concat!("picket/", env!("CARGO_PKG_VERSION")))
                .header(CONTENT_TYPE, content_type(self.format))
                .header("Idempotency-Key", Digest::of(&body).to_string());
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            request.body(Full::new(body.clone()))
        };
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.requests.is_closed())
        {
            self.open = Some(open(&self.endpoint).await?);
        }
        let Some(open) = &mut self.open else {
            return Err(failed(io::ErrorKind::NotConnected.into()));
        };
        let request = request(open.authorization.as_ref())
            .map_err(other)
            .map_err(&failed)?;
        open.requests
            .ready()
            .await
            .map_err(other)
            .map_err(&failed)?;
        let sent = open.requests.send_request(request).await;
        let response = sent.map_err(other).map_err(&failed)?;
        answer(&self.endpoint.at, response).await
    }
}

/// What it answered, if it took the request.
async fn answer(at: &str, response: Response<hyper::body::Incoming>) -> Result<Bytes, SinkError> {
    let status = response.status();
    if !status.is_success() {
        let (at, status) = (at.to_owned(), status.as_u16());
        return Err(SinkError::Refused { at, status });
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    let body = body.map_err(io::Error::other).map_err(network(at))?;
    Ok(body.to_bytes())
}

async fn open(endpoint: &Endpoint) -> Result<Connection, SinkError> {
    let authorization = authorization(endpoint)?;
    let stream = connect(&endpoint.at, endpoint.ca.as_deref(), &[b"http/1.1"]).await?;
    let shaken = handshake(TokioIo::new(stream.into_wire())).await;
    let (requests, connection) = shaken.map_err(other).map_err(network(&endpoint.at))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Whatever ends it is told by the request that it ends.
        drop(connection.await);
    });
    Ok(Connection {
        requests,
        authorization,
        _driver: driver,
    })
}

/// Read anew for each connection, so that it can be changed.
fn authorization(endpoint: &Endpoint) -> Result<Option<HeaderValue>, SinkError> {
    let Some(path) = &endpoint.authorization else {
        return Ok(None);
    };
    let failed = |source| SinkError::File {
        operation: "read",
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    let value = HeaderValue::from_str(text.trim());
    let mut value = value.map_err(io::Error::other).map_err(failed)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// As many in one request as receivers usually take; a larger event goes alone.
fn parts(messages: &[Message]) -> impl Iterator<Item = &[Message]> {
    let mut left = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fitting = left.iter().take_while(|message| {
            bytes = bytes.saturating_add(message.text.len());
            bytes <= MAX_BODY
        });
        let count = fitting.count().clamp(1, left.len().max(1));
        let (part, rest) = left.split_at_checked(count)?;
        left = rest;
        Some(part)
    })
}

const fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Ocsf | Format::Ecs => "application/x-ndjson",
        Format::Cef => "text/plain; charset=utf-8",
        Format::Otlp => "application/json",
    }
}

fn network(at: &str) -> impl Fn(io::Error) -> SinkError {
    let at = at.to_owned();
    move |source| SinkError::Network {
        at: at.clone(),
        source,
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// Bytes of events in one request.
const MAX_BODY: usize = 512 << 10;
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_sent_in_parts_and_each_event_once() {
        let sizes = [10, MAX_BODY - 20, 10, 1, MAX_BODY * 2, 5, 5];
        let messages: Vec<Message> = sizes
            .iter()
            .map(|size| Message::sample(&"x".repeat(*size)))
            .collect();
        let counts: Vec<usize> = parts(&messages).map(<[Message]>::len).collect();
        assert_eq!(counts, [3, 1, 1, 2]);
        assert_eq!(parts(&[]).count(), 0);
    }
}

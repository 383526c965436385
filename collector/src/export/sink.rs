//! Where messages go: a file that is synced, a syslog server over TCP or TLS, or a server of HTTP.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use picket_rpc::tls::{TlsError, foreign_client_config};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::form::Message;
use super::http::Client;
use super::settings::{Destination, Settings};

/// Where an export goes, open as long as it works.
#[derive(Debug)]
pub(super) enum Sink {
    File {
        path: PathBuf,
        rotate_bytes: u64,
        keep: u32,
    },
    Syslog {
        at: String,
        ca: Option<PathBuf>,
        open: Option<Stream>,
    },
    Http(Client),
}

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SinkError {
    #[error("failed to {operation} `{}`", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("failed to reach {at}")]
    Network { at: String, source: io::Error },
    #[error("{at} does not answer in time")]
    Late { at: String },
    #[error("{at} answers with HTTP status {status}")]
    Refused { at: String, status: u16 },
    #[error("the certificate `{}` cannot be used", path.display())]
    Authority { path: PathBuf, source: TlsError },
}

/// A connection, whatever it is made of.
pub(super) struct Stream(Box<dyn Wire>);

impl Stream {
    pub(super) fn into_wire(self) -> Box<dyn Wire> {
        self.0
    }
}

pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(settings: &Settings) -> Self {
        match &settings.to {
            Destination::File {
                path,
                rotate_bytes,
                keep,
            } => Self::File {
                path: path.clone(),
                rotate_bytes: *rotate_bytes,
                keep: *keep,
            },
            Destination::Syslog { at, ca } => Self::Syslog {
                at: at.clone(),
                ca: ca.clone(),
                open: None,
            },
            Destination::Http(endpoint) => {
                Self::Http(Client::new(endpoint.clone(), settings.format))
            }
        }
    }

    /// Sends all of them, or fails and sends all of them again the next time. Says how many the receiver threw away, as far
    /// as it tells.
    pub(super) async fn send(&mut self, messages: &Arc<Vec<Message>>) -> Result<u64, SinkError> {
        match self {
            Self::Http(client) => return client.send(messages).await,
            Self::File {
                path,
                rotate_bytes,
                keep,
            } => write(path.clone(), (*rotate_bytes, *keep), Arc::clone(messages)).await?,
            Self::Syslog { at, ca, open } => {
                let mut stream = match open.take() {
                    Some(stream) => stream,
                    None => connect(at, ca.as_deref(), &[]).await?,
                };
                let writing = tokio::time::timeout(PATIENCE, frames(&mut stream, messages));
                let late = |_elapsed| SinkError::Late { at: at.clone() };
                writing.await.map_err(late)?.map_err(|source| {
                    let at = at.clone();
                    SinkError::Network { at, source }
                })?;
                *open = Some(stream);
            }
        }
        Ok(0)
    }
}

/// Each message behind its length in bytes.
async fn frames(stream: &mut Stream, messages: &[Message]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for message in messages {
        let text = message.syslog();
        bytes.extend(format!("{} ", text.len()).into_bytes());
        bytes.extend(text.into_bytes());
    }
    // A server that went away is noticed before anything is given to it.
    if closed(stream).await {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    stream.0.write_all(&bytes).await?;
    stream.0.flush().await
}

/// Whether the server has said that it goes; servers of syslog say nothing else.
async fn closed(stream: &mut Stream) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(1), stream.0.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// Connects, with TLS where an authority is given; `protocols` are what is offered in it (RFC 7301).
pub(super) async fn connect(
    at: &str,
    ca: Option<&Path>,
    protocols: &[&[u8]],
) -> Result<Stream, SinkError> {
    let network = |source| SinkError::Network {
        at: at.to_owned(),
        source,
    };
    let late = |_elapsed| SinkError::Late { at: at.to_owned() };
    let opening = tokio::time::timeout(PATIENCE, TcpStream::connect(at));
    let tcp = opening.await.map_err(late)?.map_err(network)?;
    let Some(ca) = ca else {
        return Ok(Stream(Box::new(tcp)));
    };
    let pem = fs::read(ca).map_err(|source| SinkError::File {
        operation: "read",
        path: ca.to_owned(),
        source,
    })?;
    let mut config = foreign_client_config(&pem).map_err(|source| SinkError::Authority {
        path: ca.to_owned(),
        source,
    })?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| network(io::Error::other(error)))?;
    let connector = TlsConnector::from(Arc::new(config));
    let handshake = tokio::time::timeout(PATIENCE, connector.connect(name, tcp));
    let tls = handshake.await.map_err(late)?.map_err(network)?;
    Ok(Stream(Box::new(tls)))
}

/// Adds lines on a thread that may wait for the disk. What was begun is ended, also when nobody waits for it any more.
async fn write(
    path: PathBuf,
    (rotate_bytes, keep): (u64, u32),
    messages: Arc<Vec<Message>>,
) -> Result<(), SinkError> {
    let at = path.clone();
    let work = move || append(&at, rotate_bytes, keep, &messages);
    let written = tokio::task::spawn_blocking(work).await;
    let written = written.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    written.map_err(|source| SinkError::File {
        operation: "write",
        path,
        source,
    })
}

/// Adds lines and syncs them; a full file makes room first.
fn append(path: &Path, rotate_bytes: u64, keep: u32, messages: &[Message]) -> io::Result<()> {
    let mut file = open(path)?;
    for message in messages {
        let length = file.metadata()?.len();
        if length > 0 && length.saturating_add(message.text.len() as u64) > rotate_bytes {
            file.sync_all()?;
            rotate(path, keep)?;
            file = open(path)?;
        }
        file.write_all(message.text.as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.sync_all()
}

/// The file at its end. A line that a crash cut off gets its end, so that the next one is a line of its own.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// `PATH.1` is the newest full one.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number.saturating_add(1))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

/// A server may take so long for a group.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_and_only_so_many_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let lines: Vec<Message> = (0..10)
            .map(|n| Message::sample(&format!("line {n}")))
            .collect();
        append(&path, 14, 2, &lines).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("events.json"), "line 8\nline 9\n");
        assert_eq!(read("events.json.1"), "line 6\nline 7\n");
        assert_eq!(read("events.json.2"), "line 4\nline 5\n");
        assert!(!dir.path().join("events.json.3").exists());
    }

    #[test]
    fn a_line_that_was_cut_off_stays_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        fs::write(&path, "{\"cut").unwrap();
        append(&path, 1 << 20, 2, &[Message::sample("{}")]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"cut\n{}\n");
    }
}

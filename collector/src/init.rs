//! `init` and `operator add`: a new collector, and who may use it.
//!
//! # Invariants
//!
//! - Nothing that exists is overwritten.
//! - Only public halves of operators' keys are ever read.
//! - The database is made last: a directory without it holds no collector that could serve.

use std::path::{Path, PathBuf};

use picket_event::UnixNanos;
use picket_event::request::{OperatorRequest, RequestError};
use picket_event::trust::{ActionClass, Person, Role, TrustRoot};
use picket_seal::{Digest, enrolment_fingerprint};

use crate::authority::{self, Authority, AuthorityError, Request};
use crate::data::{self, DataDir, DataError};
use crate::database::{self, Database, DatabaseError, audit, operators};

/// What `init` is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where to make the collector.
    pub data: PathBuf,
    /// The DNS names and addresses it is reached under.
    pub names: Vec<String>,
    /// The operators' request files.
    pub operators: Vec<PathBuf>,
}

/// What `init` made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What a person carries to new hosts.
    pub fingerprint: Digest,
    /// The operators, each with the certificate file that was written.
    pub operators: Vec<(String, PathBuf)>,
    /// The names of the server's certificate.
    pub names: Vec<String>,
}

/// Why it was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A certificate was not made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The database was not made.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A file is no operator's request.
    #[error("`{}` is not an operator's request", path.display())]
    Request {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: RequestError,
    },
    /// Two requests of one name.
    #[error("there are two operators called `{0}`")]
    Twice(String),
    /// Two requests with one key.
    #[error("`{0}` and another operator have one signing key")]
    SharedKey(String),
    /// The name is taken.
    #[error("there is an operator called `{0}` already")]
    NameTaken(String),
    /// A certificate would be overwritten.
    #[error("`{}` exists already", .0.display())]
    CertificateExists(PathBuf),
}

/// Makes a collector.
pub fn init(setup: &Setup, now: UnixNanos) -> Result<Made, InitError> {
    let requests = setup.operators.iter().map(|path| Asked::read(path));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    refuse_doubles(&requests)?;
    for asked in &requests {
        asked.refuse_overwriting()?;
    }
    check_names(&setup.names)?;
    let data = DataDir::create(&setup.data)?;
    let authority = Authority::create(&data, now)?;
    write_server(&data, &authority, &setup.names, now)?;
    let trust_root = TrustRoot::first(requests.iter().map(Asked::person).collect(), now).encode();
    data::write_new(&data.trust_root(), &trust_root, 0o644)?;
    let signed = requests.iter().map(|asked| asked.sign(&authority, now));
    let signed = signed.collect::<Result<Vec<_>, _>>()?;
    make_database(&data, setup, &requests, now)?;
    for (asked, chain) in requests.iter().zip(signed) {
        data::write_new(&asked.certificate(), chain.as_bytes(), 0o644)?;
    }
    let written = requests
        .iter()
        .map(|asked| (asked.request.name.clone(), asked.certificate()));
    Ok(Made {
        fingerprint: enrolment_fingerprint(authority.certificate(), &trust_root),
        operators: written.collect(),
        names: setup.names.clone(),
    })
}

/// Signs a further operator's TLS certificate. Their signing key counts once the trust root names it.
pub fn add_operator(
    data: &Path,
    request: &Path,
    now: UnixNanos,
) -> Result<(String, PathBuf), InitError> {
    let asked = Asked::read(request)?;
    asked.refuse_overwriting()?;
    let data = DataDir::open(data)?;
    let authority = Authority::open(&data)?;
    let chain = asked.sign(&authority, now)?;
    let database = Database::open(&data.database())?;
    database.run(|t| asked.add_to(t, now))?;
    data::write_new(&asked.certificate(), chain.as_bytes(), 0o644)?;
    Ok((asked.request.name.clone(), asked.certificate()))
}

/// How many persons a fleet action takes under a first trust root of so many operators.
pub fn persons_for_fleet(operators: usize) -> u32 {
    let person = |number: usize| Person {
        name: number.to_string(),
        keys: Vec::new(),
        roles: Vec::new(),
    };
    TrustRoot::first((0..operators).map(person).collect(), UnixNanos(0))
        .threshold(ActionClass::Fleet)
}

/// Makes the server's key and certificate and puts them into their places.
pub(crate) fn write_server(
    data: &DataDir,
    authority: &Authority,
    names: &[String],
    now: UnixNanos,
) -> Result<(), InitError> {
    let server = authority.server(names, now)?;
    data::replace(&data.server_key(), server.key.as_bytes(), 0o600)?;
    data::replace(&data.server_certificate(), server.chain.as_bytes(), 0o644)?;
    Ok(())
}

/// The server's names as they are kept.
pub(crate) fn read_names(value: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(value)
        .split('\n')
        .map(str::to_owned)
        .collect()
}

/// Under which setting the server's names are kept, one a line.
pub(crate) const NAMES: &str = "server_names";

fn check_names(names: &[String]) -> Result<(), InitError> {
    for name in names {
        let address = name.parse::<std::net::IpAddr>().is_ok();
        let known = rustls::pki_types::DnsName::try_from(name.as_str()).is_ok();
        if !address && !known {
            return Err(AuthorityError::Name(name.clone()).into());
        }
    }
    Ok(())
}

fn make_database(
    data: &DataDir,
    setup: &Setup,
    requests: &[Asked],
    now: UnixNanos,
) -> Result<(), InitError> {
    // SQLite gives its other files the permissions of this one.
    data::write_new(&data.database(), &[], 0o600)?;
    let database = Database::create(&data.database())?;
    database.run(|t| {
        database::keep_setting(t, NAMES, setup.names.join("\n").as_bytes())?;
        requests.iter().try_for_each(|asked| asked.add_to(t, now))
    })
}

/// A request and where it was.
struct Asked {
    path: PathBuf,
    request: OperatorRequest,
    csr: Request,
}

impl Asked {
    fn read(path: &Path) -> Result<Self, InitError> {
        let bytes = data::read(path)?;
        let request = OperatorRequest::from_pem(&String::from_utf8_lossy(&bytes));
        let request = request.map_err(|source| InitError::Request {
            path: path.to_owned(),
            source,
        })?;
        let csr = Request::read(&request.csr_der)?;
        Ok(Self {
            path: path.to_owned(),
            request,
            csr,
        })
    }

    fn certificate(&self) -> PathBuf {
        self.path.with_file_name("certificate.pem")
    }

    fn refuse_overwriting(&self) -> Result<(), InitError> {
        let path = self.certificate();
        if path.exists() {
            Err(InitError::CertificateExists(path))
        } else {
            Ok(())
        }
    }

    fn person(&self) -> Person {
        Person {
            name: self.request.name.clone(),
            keys: vec![self.request.signing_key],
            roles: vec![Role::Requester, Role::Approver, Role::Content],
        }
    }

    fn sign(&self, authority: &Authority, now: UnixNanos) -> Result<String, InitError> {
        let chain = authority.operator(&self.request.name, &self.csr, now)?;
        Ok(authority::pem(&chain))
    }

    fn add_to(&self, t: &rusqlite::Transaction<'_>, now: UnixNanos) -> Result<(), InitError> {
        let name = &self.request.name;
        if !operators::add(t, name, &self.request.signing_key, now)? {
            return Err(InitError::NameTaken(name.clone()));
        }
        let detail = format!("signing key {}", self.request.signing_key.key_id());
        let entry = audit::Entry {
            time: now,
            who: "collector",
            action: "operator.add",
            object: name,
            detail: &detail,
            proof: &[],
        };
        Ok(audit::add(t, entry)?)
    }
}

fn refuse_doubles(requests: &[Asked]) -> Result<(), InitError> {
    for (at, asked) in requests.iter().enumerate() {
        let others = requests.iter().take(at);
        for other in others {
            if other.request.name == asked.request.name {
                return Err(InitError::Twice(asked.request.name.clone()));
            }
            if other.request.signing_key == asked.request.signing_key {
                return Err(InitError::SharedKey(asked.request.name.clone()));
            }
            if other.certificate() == asked.certificate() {
                return Err(InitError::CertificateExists(asked.certificate()));
            }
        }
    }
    Ok(())
}

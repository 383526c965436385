//! `token create`, `token list`, `token revoke`.
//!
//! # Invariants
//!
//! - A token's secret is made here and printed once; the collector gets its hash.
//! - A token carries the fingerprint of the pinned collector, not one that the collector says now.

use picket_event::token::EnrolmentToken;
use picket_event::{Clock, SystemClock};
use picket_proto::v1;
use picket_seal::format_fingerprint;
use serde::Serialize;

use crate::cli::{Format, TokenArgs, TokenVerb};
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::table::Table;
use crate::when::{spoken, stamp};

/// `token ...`.
pub(crate) async fn run(operator: &Operator, verb: TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(args) => create(operator, args).await,
        TokenVerb::List(format) => list(operator, format).await,
        TokenVerb::Revoke { id } => revoke(operator, &id).await,
    }
}

async fn create(operator: &Operator, args: TokenArgs) -> Result<(), Failure> {
    let token = EnrolmentToken::generate(operator.fingerprint())
        .map_err(|source| Failure::new(Exit::Failed, source))?;
    let request = v1::CreateTokenRequest {
        id: token.id.clone(),
        secret_hash: token.secret_hash().as_bytes().to_vec(),
        ttl_seconds: args.ttl.as_secs(),
        uses: args.uses,
        group: args.group,
    };
    let kept = Collector::open(operator)
        .await?
        .create_token(request)
        .await?;
    let mut out = Output::stdout();
    if args.format.json {
        let line = Line::of(&kept);
        let token = token.to_string();
        out.json(&Created { token, line })?;
        return out.flush();
    }
    out.line(&token.to_string())?;
    out.flush()?;
    let host = operator
        .collector
        .rsplit_once(':')
        .map_or("HOST", |(host, _)| host);
    note(&format!(
        "hint: picket-agent enroll --collector {host}:7443 --token TOKEN --fingerprint {}",
        format_fingerprint(&token.fingerprint)
    ));
    Ok(())
}

async fn list(operator: &Operator, format: Format) -> Result<(), Failure> {
    let tokens = Collector::open(operator).await?.list_tokens().await?;
    let mut out = Output::stdout();
    if format.json {
        for token in &tokens {
            out.json(&Line::of(token))?;
        }
        return out.flush();
    }
    let mut table = Table::new(&["ID", "STATE", "USES LEFT", "EXPIRES", "GROUP", "BY"]);
    for token in &tokens {
        table.row([
            token.id.clone(),
            state(token),
            token.uses_left.to_string(),
            stamp(token.expires_unix_ns).unwrap_or_default(),
            token.group.clone(),
            token.created_by.clone(),
        ]);
    }
    for line in table.lines() {
        out.line(&line)?;
    }
    out.flush()
}

async fn revoke(operator: &Operator, id: &str) -> Result<(), Failure> {
    if EnrolmentToken::parse(id).is_ok() {
        return Err(
            Failure::new(Exit::Usage, "this is a whole token, not its id")
                .hint("the id is the part between the first and the second hyphen"),
        );
    }
    let token = Collector::open(operator).await?.revoke_token(id).await?;
    let mut out = Output::stdout();
    out.line(&format!("{} {}", token.id, state(&token)))?;
    out.flush()
}

fn state(token: &v1::Token) -> String {
    let now = SystemClock.now().0;
    if token.revoked {
        return "revoked".to_owned();
    }
    if token.uses_left == 0 {
        return "used".to_owned();
    }
    if token.expires_unix_ns <= now {
        return "expired".to_owned();
    }
    let left = picket_event::UnixNanos(token.expires_unix_ns).since(picket_event::UnixNanos(now));
    format!("good for {}", spoken(left))
}

/// A token as `--json` prints it.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    group: String,
    created: Option<String>,
    expires: Option<String>,
    uses_left: u32,
    revoked: bool,
    created_by: String,
}

/// A new token, secret included.
#[derive(Debug, Serialize)]
struct Created {
    token: String,
    #[serde(flatten)]
    line: Line,
}

impl Line {
    fn of(token: &v1::Token) -> Self {
        Self {
            id: token.id.clone(),
            group: token.group.clone(),
            created: stamp(token.created_unix_ns),
            expires: stamp(token.expires_unix_ns),
            uses_left: token.uses_left,
            revoked: token.revoked,
            created_by: token.created_by.clone(),
        }
    }
}

//! The connection to the collector, and what its refusals mean.
//!
//! # Invariants
//!
//! - Every answer but the anchors comes over TLS that was verified against the pinned CA.
//! - Each refusal ends in the exit code of the contract.

use std::error::Error;

use picket_event::CommandId;
use picket_event::content::ContentKind;
use picket_proto::v1;
use picket_rpc::channel::{ConnectError, connect};
use picket_rpc::v1::operator_client::OperatorClient;
use picket_rpc::v1::trust_client::TrustClient;
use rustls::ClientConfig;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::failure::{Exit, Failure, joined};
use crate::operator::Operator;

/// A verified connection to the collector's port for operators.
#[derive(Debug)]
pub(crate) struct Collector {
    client: OperatorClient<Channel>,
}

/// What the collector said no to, and in which words.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}: {words}")]
pub(crate) struct CallError {
    operation: &'static str,
    words: String,
}

impl Collector {
    /// Connects with the operator's certificate.
    pub(crate) async fn open(operator: &Operator) -> Result<Self, Failure> {
        let channel = connect(&operator.collector, operator.tls()?).await;
        let channel = channel.map_err(|error| not_connected(error, &operator.collector))?;
        Ok(Self {
            client: OperatorClient::new(channel).max_decoding_message_size(LARGEST_ANSWER),
        })
    }

    /// Every host that `host` names; all for the empty text.
    pub(crate) async fn list_hosts(&mut self, host: &str) -> Result<Vec<v1::Host>, Failure> {
        let host = host.to_owned();
        let answer = self.client.list_hosts(v1::ListHostsRequest { host }).await;
        let answer = answer.map_err(|status| refused("list the hosts", &status))?;
        Ok(answer.into_inner().hosts)
    }

    /// The one host that `host` names.
    pub(crate) async fn host(&mut self, host: &str) -> Result<v1::Host, Failure> {
        let mut hosts = self.list_hosts(host).await?;
        match (hosts.pop(), hosts.len()) {
            (Some(only), 0) if !host.is_empty() => Ok(only),
            (None, _) => Err(no_host(host)),
            (Some(_), more) => Err(ambiguous_host(host, more + 1)),
        }
    }

    /// Ends a host's certificate.
    pub(crate) async fn revoke_host(&mut self, host: &str) -> Result<v1::Host, Failure> {
        let host = host.to_owned();
        let answer = self
            .client
            .revoke_host(v1::RevokeHostRequest { host })
            .await;
        Ok(answer
            .map_err(|status| refused("revoke the host", &status))?
            .into_inner())
    }

    /// Says which of those that speak for a host it is.
    pub(crate) async fn decide_branch(
        &mut self,
        request: v1::DecideBranchRequest,
    ) -> Result<v1::Host, Failure> {
        let answer = self.client.decide_branch(request).await;
        Ok(answer
            .map_err(|status| refused("decide on the branch", &status))?
            .into_inner())
    }

    /// Says that the next ring of a command begins.
    pub(crate) async fn start_ring(
        &mut self,
        command_id: Vec<u8>,
        statement: v1::SignedStatement,
    ) -> Result<v1::CommandStatus, Failure> {
        let request = v1::StartRingRequest {
            command_id,
            statement: Some(statement),
        };
        let answer = self.client.start_ring(request).await;
        Ok(answer
            .map_err(|status| refused("begin the ring", &status))?
            .into_inner())
    }

    /// Gives a person's word that one host is another.
    pub(crate) async fn replace_host(
        &mut self,
        said: v1::SignedReplacement,
    ) -> Result<v1::Host, Failure> {
        let answer = self.client.replace_host(said).await;
        Ok(answer
            .map_err(|status| refused("replace the host", &status))?
            .into_inner())
    }

    /// Keeps the hash of a new token.
    pub(crate) async fn create_token(
        &mut self,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::Token, Failure> {
        let answer = self.client.create_token(request).await;
        Ok(answer
            .map_err(|status| refused("create the token", &status))?
            .into_inner())
    }

    /// All tokens.
    pub(crate) async fn list_tokens(&mut self) -> Result<Vec<v1::Token>, Failure> {
        let answer = self.client.list_tokens(v1::ListTokensRequest {}).await;
        let answer = answer.map_err(|status| refused("list the tokens", &status))?;
        Ok(answer.into_inner().tokens)
    }

    /// Ends a token.
    pub(crate) async fn revoke_token(&mut self, id: &str) -> Result<v1::Token, Failure> {
        let id = id.to_owned();
        let answer = self
            .client
            .revoke_token(v1::RevokeTokenRequest { id })
            .await;
        Ok(answer
            .map_err(|status| refused("revoke the token", &status))?
            .into_inner())
    }

    /// Events that are there.
    pub(crate) async fn search(
        &mut self,
        request: v1::SearchRequest,
    ) -> Result<Streaming<v1::FoundEvent>, Failure> {
        let answer = self.client.search_events(request).await;
        Ok(answer
            .map_err(|status| refused(SEARCH, &status))?
            .into_inner())
    }

    /// Events as they come.
    pub(crate) async fn tail(
        &mut self,
        request: v1::SearchRequest,
    ) -> Result<Streaming<v1::FoundEvent>, Failure> {
        let answer = self.client.tail_events(request).await;
        Ok(answer
            .map_err(|status| refused("follow the events", &status))?
            .into_inner())
    }

    /// A process with its relatives.
    pub(crate) async fn tree(
        &mut self,
        request: v1::TreeRequest,
    ) -> Result<v1::TreeResponse, Failure> {
        let answer = self.client.process_tree(request).await;
        let answer = answer.map_err(|status| refused("read the process tree", &status))?;
        Ok(answer.into_inner())
    }

    /// How often each value of a field occurs.
    pub(crate) async fn stack(
        &mut self,
        request: v1::StackRequest,
    ) -> Result<v1::StackResponse, Failure> {
        let answer = self.client.stack(request).await;
        Ok(answer
            .map_err(|status| refused("count the values", &status))?
            .into_inner())
    }

    /// The rows of an answer in SQL.
    pub(crate) async fn query(
        &mut self,
        request: v1::QueryRequest,
    ) -> Result<Streaming<v1::QueryReply>, Failure> {
        let answer = self.client.query(request).await;
        Ok(answer
            .map_err(|status| refused(QUERY, &status))?
            .into_inner())
    }

    /// Everything that is needed to verify without believing the collector.
    pub(crate) async fn evidence(
        &mut self,
        request: v1::EvidenceRequest,
    ) -> Result<Streaming<v1::EvidenceItem>, Failure> {
        let answer = self.client.evidence(request).await;
        Ok(answer
            .map_err(|status| refused("read the evidence", &status))?
            .into_inner())
    }

    /// Hands a signed command in.
    pub(crate) async fn submit(
        &mut self,
        command: v1::SignedCommand,
    ) -> Result<v1::CommandStatus, Failure> {
        let answer = self.client.submit_command(command).await;
        Ok(answer
            .map_err(|status| refused("submit the command", &status))?
            .into_inner())
    }

    /// The newest commands.
    pub(crate) async fn list_commands(
        &mut self,
        limit: u64,
    ) -> Result<Vec<v1::CommandStatus>, Failure> {
        let request = v1::ListCommandsRequest { limit };
        let answer = self.client.list_commands(request).await;
        let answer = answer.map_err(|status| refused("list the commands", &status))?;
        Ok(answer.into_inner().commands)
    }

    /// A command's state now; `None`: the collector does not tell of one of this id.
    pub(crate) async fn command(&mut self, id: CommandId) -> Option<v1::CommandStatus> {
        let mut states = self.watch(id.as_bytes().to_vec()).await.ok()?;
        states.message().await.ok()?
    }

    /// A command's state now and after each change.
    pub(crate) async fn watch(
        &mut self,
        command_id: Vec<u8>,
    ) -> Result<Streaming<v1::CommandStatus>, Failure> {
        let request = v1::WatchCommandRequest { command_id };
        let answer = self.client.watch_command(request).await;
        Ok(answer
            .map_err(|status| refused("watch the command", &status))?
            .into_inner())
    }

    /// Adds a signature.
    pub(crate) async fn approve(
        &mut self,
        command_id: Vec<u8>,
        signature: v1::Signature,
    ) -> Result<v1::CommandStatus, Failure> {
        let request = v1::ApproveCommandRequest {
            command_id,
            signature: Some(signature),
        };
        let answer = self.client.approve_command(request).await;
        Ok(answer
            .map_err(|status| refused("approve the command", &status))?
            .into_inner())
    }

    /// Says no to a command.
    pub(crate) async fn deny(
        &mut self,
        command_id: Vec<u8>,
        statement: v1::SignedStatement,
    ) -> Result<v1::CommandStatus, Failure> {
        let request = v1::DenyCommandRequest {
            command_id,
            statement: Some(statement),
        };
        let answer = self.client.deny_command(request).await;
        Ok(answer
            .map_err(|status| refused("deny the command", &status))?
            .into_inner())
    }

    /// The trust roots behind this version.
    pub(crate) async fn trust_roots(
        &mut self,
        after_version: u64,
    ) -> Result<v1::ListTrustRootsResponse, Failure> {
        let request = v1::ListTrustRootsRequest { after_version };
        let answer = self.client.list_trust_roots(request).await;
        Ok(answer
            .map_err(|status| refused("read the trust roots", &status))?
            .into_inner())
    }

    /// Hands a trust root in. Its version.
    pub(crate) async fn publish(&mut self, signed: v1::SignedTrustRoot) -> Result<u64, Failure> {
        let answer = self.client.publish_trust_root(signed).await;
        let answer = answer.map_err(|status| refused("publish the trust root", &status))?;
        Ok(answer.into_inner().version)
    }

    /// Hands content in. Nobody has it yet.
    pub(crate) async fn publish_content(
        &mut self,
        signed: v1::SignedContent,
    ) -> Result<v1::ContentState, Failure> {
        let answer = self.client.publish_content(signed).await;
        Ok(answer
            .map_err(|status| refused("publish the content", &status))?
            .into_inner())
    }

    /// Lets these hosts have a version; `None`: all of them, also those to come.
    pub(crate) async fn release_content(
        &mut self,
        (kind, version): (ContentKind, u64),
        hosts: Option<Vec<Vec<u8>>>,
    ) -> Result<v1::ContentState, Failure> {
        let request = v1::ReleaseContentRequest {
            kind: kind.to_wire(),
            version,
            everyone: hosts.is_none(),
            host_ids: hosts.unwrap_or_default(),
        };
        let answer = self.client.release_content(request).await;
        Ok(answer
            .map_err(|status| refused("release the content", &status))?
            .into_inner())
    }

    /// The versions of one kind or all; with its body the one that is named.
    pub(crate) async fn list_content(
        &mut self,
        which: Option<(ContentKind, u64)>,
    ) -> Result<v1::ListContentResponse, Failure> {
        let request = v1::ListContentRequest {
            kind: which.map_or(0, |(kind, _)| kind.to_wire()),
            version: which.map_or(0, |(_, version)| version),
        };
        let answer = self.client.list_content(request).await;
        Ok(answer
            .map_err(|status| refused("list the content", &status))?
            .into_inner())
    }

    /// The audit.
    pub(crate) async fn audit(
        &mut self,
        since_unix_ns: i64,
    ) -> Result<Streaming<v1::AuditEntry>, Failure> {
        let request = v1::ReadAuditRequest { since_unix_ns };
        let answer = self.client.read_audit(request).await;
        Ok(answer
            .map_err(|status| refused("read the audit", &status))?
            .into_inner())
    }

    /// A file that a host sent because of a command.
    pub(crate) async fn fetch(
        &mut self,
        command_id: Vec<u8>,
        host_id: Vec<u8>,
    ) -> Result<Streaming<v1::Chunk>, Failure> {
        let request = v1::FetchCollectedRequest {
            command_id,
            host_id,
        };
        let answer = self.client.fetch_collected(request).await;
        Ok(answer
            .map_err(|status| refused("fetch the file", &status))?
            .into_inner())
    }

    /// Takes a command back.
    pub(crate) async fn cancel(
        &mut self,
        command_id: Vec<u8>,
        statement: v1::SignedStatement,
    ) -> Result<v1::CommandStatus, Failure> {
        let request = v1::CancelCommandRequest {
            command_id,
            statement: Some(statement),
        };
        let answer = self.client.cancel_command(request).await;
        Ok(answer
            .map_err(|status| refused("cancel the command", &status))?
            .into_inner())
    }
}

/// What anybody may ask: CA and trust root, to be believed only by their fingerprint.
pub(crate) async fn anchors(
    address: &str,
    config: ClientConfig,
) -> Result<v1::AnchorsResponse, Failure> {
    let channel = connect(address, config).await;
    let channel = channel.map_err(|error| not_connected(error, address))?;
    let answer = TrustClient::new(channel)
        .anchors(v1::AnchorsRequest {})
        .await;
    Ok(answer
        .map_err(|status| refused("read the collector's anchors", &status))?
        .into_inner())
}

/// The next message of a stream; `None` at its end.
pub(crate) async fn next<T>(
    stream: &mut Streaming<T>,
    operation: &'static str,
) -> Result<Option<T>, Failure> {
    let message = stream.message().await;
    message.map_err(|status| refused(operation, &status))
}

/// What a search does, in the words of its failures.
pub(crate) const SEARCH: &str = "search the events";

/// What a query does, in the words of its failures.
pub(crate) const QUERY: &str = "answer the query";

/// A refusal in the words of the contract.
pub(crate) fn refused(operation: &'static str, status: &Status) -> Failure {
    let exit = exit_of(status);
    let words = match status.source() {
        Some(source) => joined(source),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    };
    let failure = Failure::new(exit, CallError { operation, words });
    match (exit, tls_fault(status)) {
        (Exit::Unverified, Some(_)) => failure.hint(NOT_BELIEVED),
        (Exit::Failed, _) if status.code() == Code::Unimplemented => failure
            .hint("is the address the collector's port for operators, not the one for agents?"),
        (Exit::Unreachable, _) => {
            failure.hint("is the collector running, and is the address its port for operators?")
        }
        _ => failure,
    }
}

fn exit_of(status: &Status) -> Exit {
    if tls_fault(status).is_some() {
        return Exit::Unverified;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
        Code::Unknown | Code::Cancelled | Code::Internal if status.source().is_some() => {
            Exit::Unreachable
        }
        Code::PermissionDenied | Code::FailedPrecondition => Exit::Refused,
        Code::Unauthenticated => Exit::Unverified,
        Code::InvalidArgument => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn not_connected(error: ConnectError, address: &str) -> Failure {
    let fault = tls_fault(&error).cloned();
    match (&error, fault) {
        (ConnectError::Address(_), _) => Failure::new(Exit::Usage, error)
            .hint("as picket.example:7444"),
        (_, Some(rustls::Error::InvalidCertificate(_))) => Failure::new(Exit::Unverified, error)
            .hint(format!("{address} is not the pinned collector, or not under a name that it was given at `picket-collector init --name`")),
        (_, Some(rustls::Error::AlertReceived(_))) => {
            Failure::new(Exit::Unverified, error).hint(NOT_BELIEVED)
        }
        _ => Failure::new(Exit::Unreachable, error)
            .hint(format!("is the collector running, and is {address} its port for operators?")),
    }
}

/// The TLS error behind another error: certificates that are not believed, by us or by them.
fn tls_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref::<rustls::Error>() {
            return is_about_trust(fault).then_some(fault);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(fault) = inner.downcast_ref::<rustls::Error>()
        {
            return is_about_trust(fault).then_some(fault);
        }
        next = cause.source();
    }
    None
}

const fn is_about_trust(fault: &rustls::Error) -> bool {
    matches!(
        fault,
        rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)
    )
}

fn no_host(host: &str) -> Failure {
    Failure::new(Exit::Failed, format!("no host is called `{host}`")).hint("picketctl hosts")
}

fn ambiguous_host(host: &str, count: usize) -> Failure {
    Failure::new(Exit::Usage, format!("`{host}` names {count} hosts"))
        .hint("picketctl hosts --json prints whole ids")
}

const NOT_BELIEVED: &str = "the collector does not take this operator's certificate: expired, revoked, or of another collector";

/// Largest message that the collector may send, in bytes: a batch and what goes with it.
const LARGEST_ANSWER: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        let exit = |code| exit_of(&Status::new(code, "no"));
        assert_eq!(exit(Code::Unavailable), Exit::Unreachable);
        assert_eq!(exit(Code::PermissionDenied), Exit::Refused);
        assert_eq!(exit(Code::FailedPrecondition), Exit::Refused);
        assert_eq!(exit(Code::InvalidArgument), Exit::Usage);
        assert_eq!(exit(Code::Unauthenticated), Exit::Unverified);
        assert_eq!(exit(Code::NotFound), Exit::Failed);
    }

    #[test]
    fn a_certificate_that_is_not_for_this_collector_is_a_failed_verification() {
        let fault = rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName);
        let error = ConnectError::Tls {
            address: "a:1".to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, fault),
        };
        let failure = not_connected(error, "a:1");
        assert_eq!(failure.exit(), Exit::Unverified);
        assert!(
            failure
                .to_string()
                .starts_with("picketctl: failed to agree on TLS with a:1: ")
        );
    }

    #[test]
    fn a_collector_that_is_not_there_is_not_reachable() {
        let error = ConnectError::Unreachable {
            address: "a:1".to_owned(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(not_connected(error, "a:1").exit(), Exit::Unreachable);
    }
}

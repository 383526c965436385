//! The server's certificate, and the TLS settings of both ports.

use std::time::Duration;

use picket_rpc::tls::{ClientCertificates, Identity, server_config};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ServeError;
use super::parts::{Parts, stopped};
use crate::authority::{self, SERVER_LIFETIME};
use crate::data;
use crate::database;
use crate::init::{self, read_names};
use crate::listen::TlsSettings;
use crate::peer::{Port, read_certificate};

/// The settings of both ports.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) agents: TlsSettings,
    pub(super) operators: TlsSettings,
}

impl Parts {
    /// Makes the server's certificate anew once half of its time is over.
    pub(super) async fn renew(self, tls: Tls) -> Result<(), ServeError> {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            if self.renew_server()? {
                let (agents, operators) = self.server_configs()?;
                tls.agents.replace(agents);
                tls.operators.replace(operators);
            }
        }
    }

    pub(super) fn tls(&self) -> Result<Tls, ServeError> {
        self.renew_server()?;
        let (agents, operators) = self.server_configs()?;
        Ok(Tls {
            agents: TlsSettings::new(agents),
            operators: TlsSettings::new(operators),
        })
    }

    fn renew_server(&self) -> Result<bool, ServeError> {
        let now = self.clock.now();
        let chain = self.server_chain()?;
        let first = chain.first().map(AsRef::as_ref);
        let ends = first.and_then(|der| read_certificate(der, Port::Agents).1);
        let half = i64::try_from(SERVER_LIFETIME.as_secs() / 2).unwrap_or(i64::MAX);
        if ends.is_some_and(|ends| ends.saturating_sub(now.0 / 1_000_000_000) > half) {
            return Ok(false);
        }
        let names = self.database.run(|t| database::setting(t, init::NAMES))?;
        let names = read_names(&names.unwrap_or_default());
        init::write_server(&self.data, &self.authority, &names, now).map_err(ServeError::Renew)?;
        tracing::info!("renewed the server's certificate");
        Ok(true)
    }

    fn server_configs(&self) -> Result<(ServerConfig, ServerConfig), ServeError> {
        let config = |clients| -> Result<ServerConfig, ServeError> {
            let path = self.data.server_key();
            let key = PrivateKeyDer::from_pem_slice(&data::read(&path)?);
            let key = key.map_err(|_malformed| ServeError::ServerKey(path))?;
            let identity = Identity {
                chain: self.server_chain()?,
                key,
            };
            let mut config = server_config(identity, self.authority.certificate(), clients)?;
            // No tickets: a resumed session would outlive what was known of the host at its handshake.
            config.send_tls13_tickets = 0;
            config.max_early_data_size = 0;
            Ok(config)
        };
        Ok((
            config(ClientCertificates::Optional)?,
            config(ClientCertificates::Required)?,
        ))
    }

    fn server_chain(&self) -> Result<Vec<CertificateDer<'static>>, ServeError> {
        let pem = data::read(&self.data.server_certificate())?;
        Ok(authority::certificates(&pem, "server.pem")?)
    }
}

/// How often to look whether the certificate is due.
const LOOK_EVERY: Duration = Duration::from_hours(1);

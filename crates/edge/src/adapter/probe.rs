//! One health check of one server, over the same kind of connection as its requests.

use std::net::SocketAddr;

use pingora_core::connectors::http::Connector;
use pingora_http::RequestHeader;

use super::upstream::Authorities;
use crate::config::PoolConfig;

/// Why a server counts as not well. The server is at fault, or the way to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwell {
    /// No connection, or no answer that is one.
    #[error("no answer")]
    NoAnswer(#[from] Box<pingora_core::Error>),
    /// It says so itself.
    #[error("answered {0}")]
    Status(u16),
    /// Nothing within the time-out.
    #[error("no answer within {0:?}")]
    Late(std::time::Duration),
}

/// Asks servers. A connection is made for each check: that it can be made is a part of what is asked.
pub(crate) struct Prober {
    connector: Connector,
}

impl Prober {
    pub fn new() -> Self {
        Self { connector: Connector::new(None) }
    }

    /// Asks one server of a pool.
    pub async fn ask(&self, address: SocketAddr, pool: &PoolConfig, authorities: &Authorities) -> Result<(), Unwell> {
        let longest = pool.health.timeout;
        match tokio::time::timeout(longest, self.exchange(address, pool, authorities)).await {
            Ok(Ok(200..=299)) => Ok(()),
            Ok(Ok(status)) => Err(Unwell::Status(status)),
            Ok(Err(error)) => Err(Unwell::NoAnswer(error)),
            Err(_) => Err(Unwell::Late(longest)),
        }
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        pool: &PoolConfig,
        authorities: &Authorities,
    ) -> pingora_core::Result<u16> {
        let peer = authorities.of_pool(address, pool)?;
        let name = pool.tls.as_ref().map(|tls| tls.server_name.clone());
        let mut request = RequestHeader::build("GET", pool.health.path.0.as_bytes(), Some(2))?;
        request.insert_header(http::header::HOST, name.unwrap_or_else(|| address.to_string()))?;
        request.insert_header(http::header::USER_AGENT, "naru-edge-health")?;
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        session.shutdown().await;
        Ok(status)
    }
}

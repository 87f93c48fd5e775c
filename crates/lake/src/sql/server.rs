//! The port that clients of PostgreSQL connect to.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler,
};
use datafusion_postgres::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::{ClientInfo, ConnectionManager, ErrorHandler, PgWireServerHandlers};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::{TlsAcceptor, process_socket};
use futures::Sink;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::config::{SqlConfig, UserConfig};
use super::guard::Guard;
use super::service::Service;
use super::session::Sessions;
use super::syntax::STACK_BYTES;
use super::tables::Tables;
use super::tls::{TlsError, acceptor};

/// What connections get to end when the port closes.
const END_MAX: Duration = Duration::from_secs(2);
/// The pause behind a refusal of the system to accept, such as no free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was asked of it.
        what: String,
        /// What it says.
        #[source]
        source: std::io::Error,
    },
    /// DataFusion cannot be set up.
    #[error("the query engine")]
    Engine(#[from] datafusion::error::DataFusionError),
    /// Certificate or key cannot be used.
    #[error("tls of the sql port")]
    Tls(#[from] TlsError),
}

/// The port, served on threads of its own: a query that keeps them busy holds up no table.
#[derive(Debug)]
pub struct SqlServer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SqlServer {
    /// Opens the port and serves it until it is closed.
    ///
    /// # Errors
    /// When the address is taken, or certificate, key or engine cannot be used.
    pub fn open(listen: SocketAddr, config: SqlConfig, tables: Tables) -> Result<Self, SqlError> {
        let system = |what: String| move |source| SqlError::System { what, source };
        let listener = std::net::TcpListener::bind(listen).map_err(system(format!("listening for sql on {listen}")))?;
        listener.set_nonblocking(true).map_err(system("the sql port".to_owned()))?;
        let address = listener.local_addr().map_err(system("the sql port".to_owned()))?;
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(usize::try_from(config.threads).unwrap_or(1))
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(system("threads for sql".to_owned()))?;
        let port = Port::new(config, tables)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("sql port".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                runtime.block_on(async {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => port.serve(listener, tls, stopped).await,
                        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the sql port is lost"),
                    }
                });
                runtime.shutdown_timeout(END_MAX);
            })
            .map_err(system("a thread for sql".to_owned()))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port; queries at work are broken off after [`END_MAX`].
    pub fn close(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the sql port panicked");
        }
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What all connections share.
struct Port {
    service: Arc<Service>,
    manager: Arc<ConnectionManager>,
    users: Option<Arc<Users>>,
    demands_tls: bool,
    connections: Arc<Semaphore>,
}

impl Port {
    fn new(config: SqlConfig, tables: Tables) -> Result<Self, SqlError> {
        let connections = usize::try_from(config.connections_max).unwrap_or(1);
        let users = (!config.users.is_empty()).then(|| Arc::new(Users::new(&config.users)));
        let demands_tls = config.tls.is_some();
        let sessions = Arc::new(Sessions::new(config, tables)?);
        Ok(Self {
            service: Arc::new(Service::new(Arc::new(Guard::new(sessions)))),
            manager: Arc::new(ConnectionManager::new()),
            users,
            demands_tls,
            connections: Arc::new(Semaphore::new(connections)),
        })
    }

    async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection for sql was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                tracing::warn!(%peer, "too many connections for sql, one is closed");
                continue;
            };
            let (one, tls, stop) = (self.one(), tls.clone(), stop.clone());
            connections.spawn(async move {
                let _permit = permit;
                one.converse(socket, peer, tls, stop).await;
            });
        }
        connections.close();
        if tokio::time::timeout(END_MAX, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "connections for sql are broken off");
        }
    }

    /// The handlers of one connection: a conversation about a password has a state of its own.
    fn one(&self) -> One {
        let startup = match &self.users {
            None => Startup::Everybody(Everybody { manager: Arc::clone(&self.manager) }),
            Some(users) => {
                let users: Arc<dyn AuthSource> = Arc::clone(users) as _;
                let handler = SASLAuthStartupHandler::new(Arc::new(parameters()))
                    .with_scram(ScramAuth::new(users))
                    .with_connection_manager(Arc::clone(&self.manager));
                Startup::Users(Box::new(handler))
            }
        };
        One {
            startup: Arc::new(Door { startup, demands_tls: self.demands_tls }),
            service: Arc::clone(&self.service),
            cancel: Arc::new(DefaultCancelHandler::new(Arc::clone(&self.manager))),
        }
    }
}

/// What clients are told of the server.
fn parameters() -> DefaultServerParameterProvider {
    let mut parameters = DefaultServerParameterProvider::default();
    parameters.is_superuser = false;
    parameters.default_transaction_read_only = true;
    parameters
}

/// One connection.
struct One {
    startup: Arc<Door>,
    service: Arc<Service>,
    cancel: Arc<DefaultCancelHandler>,
}

impl One {
    async fn converse(self, socket: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        let ended = tokio::select! {
            ended = process_socket(socket, tls, self) => ended,
            () = stop.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection for sql ended");
        }
    }
}

impl PgWireServerHandlers for One {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.service)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.service)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn error_handler(&self) -> Arc<impl ErrorHandler> {
        Arc::new(Quiet)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.cancel)
    }
}

/// An error's text can hold what somebody has asked for: it goes to the asker alone.
struct Quiet;

impl ErrorHandler for Quiet {
    fn on_error<C: ClientInfo>(&self, client: &C, error: &mut PgWireError) {
        if matches!(error, PgWireError::InvalidPassword(_)) {
            tracing::warn!(peer = %client.socket_addr(), "a password for sql was wrong");
        }
    }
}

/// Who comes in.
struct Door {
    startup: Startup,
    demands_tls: bool,
}

enum Startup {
    Everybody(Everybody),
    Users(Box<SASLAuthStartupHandler<DefaultServerParameterProvider>>),
}

struct Everybody {
    manager: Arc<ConnectionManager>,
}

impl NoopStartupHandler for Everybody {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(Arc::clone(&self.manager))
    }
}

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.demands_tls && !client.is_secure() {
            return Err(super::guard::refused("28000", "connections must be encrypted: use sslmode=require"));
        }
        match &self.startup {
            Startup::Everybody(everybody) => everybody.on_startup(client, message).await,
            Startup::Users(users) => users.on_startup(client, message).await,
        }
    }
}

/// Passwords, salted anew by each process; the passwords themselves are not kept.
struct Users {
    salts: Salts,
    salted: Vec<(String, Vec<u8>)>,
    /// What a name that nobody has is asked against, so that names cannot be found out.
    nobody: Vec<u8>,
}

/// A salt for each name, there or not: the same one whenever it is asked for, and no two alike.
struct Salts([RandomState; 2]);

impl Salts {
    fn of(&self, name: &str) -> Vec<u8> {
        self.0.iter().flat_map(|state| state.hash_one(name).to_be_bytes()).collect()
    }
}

impl Users {
    fn new(users: &[UserConfig]) -> Self {
        let salts = Salts([RandomState::new(), RandomState::new()]);
        let salted = |name: &str, password: &str| gen_salted_password(password, &salts.of(name), SCRAM_ITERATIONS);
        let user = |user: &UserConfig| (user.name.clone(), salted(&user.name, user.password.reveal()));
        let nobody = salted("", &Uuid::now_v7().to_string());
        Self { salted: users.iter().map(user).collect(), nobody, salts }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.salted.len()).finish()
    }
}

#[async_trait]
impl AuthSource for Users {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let name = login.user().unwrap_or_default();
        let hash = self.salted.iter().find(|(known, _)| known == name).map_or(&self.nobody, |(_, hash)| hash);
        Ok(Password::new(Some(self.salts.of(name)), hash.clone()))
    }
}

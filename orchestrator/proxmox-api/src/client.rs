//! The client: sends requests, repeats what may be repeated, and nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proxmox_schema::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::class::Class;
use crate::clock::{Clock, jittered};
use crate::credentials::Credentials;
use crate::error::{During, Error};
use crate::exchange;
use crate::observe::Sent;
use crate::options::Options;
use crate::request::{Call, Parameters, Request};
use crate::secret::Secret;
use crate::session::{Session, Ticket, TicketAnswer};

/// Tries of a request that reads.
const READ_TRIES: u32 = 5;
/// Tries of a request that writes; only what was never sent is tried again.
const WRITE_TRIES: u32 = 3;
/// After this long, nothing is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause before another try; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Proxmox closes connections that rest for 5 seconds; one that is closed first cannot break a request.
const CONNECTION_REST: Duration = Duration::from_secs(3);

/// A client of one Proxmox VE endpoint. Clones share connections, login and limits.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    options: Options,
    http: reqwest::Client,
    session: Session,
    requests: Semaphore,
    uploads: Semaphore,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.0.options.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let tls =
            options.trust.client_config().map_err(|error| Error::preparation(error.to_string()).with_cause(error))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.limits.connect)
            .pool_idle_timeout(CONNECTION_REST)
            .pool_max_idle_per_host(options.limits.at_once)
            .user_agent(concat!("fedi/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::preparation("TLS cannot be set up").with_cause(error))?;
        let requests = Semaphore::new(options.limits.at_once);
        let uploads = Semaphore::new(options.limits.uploads_at_once);
        Ok(Self(Arc::new(Inner { options, http, session: Session::default(), requests, uploads })))
    }

    /// The token or user that calls, for messages.
    pub fn principal(&self) -> String {
        self.0.options.credentials.principal()
    }

    /// The address of the API, for messages.
    pub fn endpoint(&self) -> String {
        self.0.options.endpoint.to_string()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.options.clock
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn uploads(&self) -> &Semaphore {
        &self.0.uploads
    }

    /// Sends a request. A read is repeated up to four times if it failed in passing; a write only if it was
    /// never sent.
    pub async fn send<R: Request>(&self, request: &R) -> Result<R::Answer, Error> {
        let call = Call::of(request);
        let data = self.call(&call).await?;
        serde_json::from_value(data).map_err(|error| exchange::unreadable(&call).with_cause(error))
    }

    async fn call(&self, call: &Call) -> Result<Value, Error> {
        let start = self.clock().now();
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match self.try_once(call, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let tries = if call.method == Method::Get { READ_TRIES } else { WRITE_TRIES };
            let patient = self.clock().now().saturating_sub(start) < PATIENCE;
            if !error.class().is_repeatable() || attempt >= tries || !patient {
                return Err(error);
            }
            self.clock().sleep(jittered(self.clock(), pause)).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// One try; with a new login if the ticket has run out in the meantime.
    async fn try_once(&self, call: &Call, attempt: u32) -> Result<Value, Error> {
        let answer = self.exchange(call, attempt, self.login().await?).await;
        let by_ticket = matches!(self.0.options.credentials, Credentials::Password { .. });
        match answer {
            // Proxmox answers 401 before it looks at the request, so that even a write may be sent again.
            Err(error) if by_ticket && *error.class() == Class::Credentials => {
                *self.0.session.ticket.lock().await = None;
                self.exchange(call, attempt, self.login().await?).await
            }
            answer => answer,
        }
    }

    async fn exchange(&self, call: &Call, attempt: u32, login: HeaderMap) -> Result<Value, Error> {
        let inner = &*self.0;
        let _permit = inner.requests.acquire().await.map_err(|_| Error::preparation("The client is closed"))?;
        let method = match call.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let limits = &inner.options.limits;
        let timeout = if call.method == Method::Get { limits.read } else { limits.write };
        let url = inner.options.endpoint.url(&call.path, &call.query());
        let builder = inner.http.request(method, url).headers(login).timeout(timeout);
        let start = self.clock().now();
        let raw = match exchange::with_body(builder, call).send().await {
            Ok(response) => exchange::read(response).await,
            Err(error) => Err(error),
        };
        self.observe(call, attempt, raw.as_ref().ok().map(exchange::Raw::status), start);
        match raw {
            Ok(raw) => exchange::understand(call, &raw, &inner.options.credentials),
            Err(error) => Err(exchange::broken(call, error)),
        }
    }

    pub(crate) fn observe(&self, call: &Call, attempt: u32, status: Option<u16>, start: Duration) {
        if let Some(observer) = &self.0.options.observer {
            observer.sent(&Sent {
                method: call.method,
                template: call.template,
                path: call.path.clone(),
                attempt,
                status,
                took: self.clock().now().saturating_sub(start),
            });
        }
    }

    /// The headers that say who calls; fetches a ticket if there is none, or none that lasts.
    pub(crate) async fn login(&self) -> Result<HeaderMap, Error> {
        let (user, password) = match &self.0.options.credentials {
            Credentials::Token(token) => return exchange::login_headers(Some(&token.header()), None),
            Credentials::Password { user, password } => (user, password),
        };
        let mut held = self.0.session.ticket.lock().await;
        let now = self.clock().now();
        let ticket = match held.as_ref() {
            Some(ticket) if !ticket.is_old(now) => ticket.clone(),
            // An old ticket serves as password while it lasts.
            Some(old) => match self.fetch_ticket(user, &old.value).await {
                Err(error) if *error.class() == Class::Credentials => self.fetch_ticket(user, password).await?,
                answer => answer?,
            },
            None => self.fetch_ticket(user, password).await?,
        };
        let headers = exchange::login_headers(None, Some((ticket.value.expose(), ticket.csrf.expose())));
        *held = Some(ticket);
        headers
    }

    async fn fetch_ticket(&self, user: &str, password: &Secret) -> Result<Ticket, Error> {
        let call = Call {
            method: Method::Post,
            template: "/access/ticket",
            path: "/access/ticket".to_owned(),
            parameters: Parameters::new().with("username", user).with("password", password.expose()),
        };
        let refused = |text: &str| {
            let during = During::Request { method: call.method, path: call.path.clone() };
            Error::new(Class::Credentials, during, text).with_status(200)
        };
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        let answer = loop {
            match self.exchange(&call, attempt, HeaderMap::new()).await {
                // To log in twice does no harm, whatever became of the first.
                Err(error) if attempt < WRITE_TRIES && is_passing(error.class()) => {
                    self.clock().sleep(jittered(self.clock(), pause)).await;
                    pause *= 2;
                    attempt += 1;
                }
                answer => break answer?,
            }
        };
        let answer: TicketAnswer =
            serde_json::from_value(answer).map_err(|error| exchange::unreadable(&call).with_cause(error))?;
        if answer.needs_second_factor {
            return Err(refused("the user has a second factor; use an API token"));
        }
        match (answer.ticket, answer.csrf) {
            (Some(ticket), Some(csrf)) => {
                Ok(Ticket { value: Secret::new(ticket), csrf: Secret::new(csrf), since: self.clock().now() })
            }
            _ => Err(refused("the answer holds no ticket")),
        }
    }
}

fn is_passing(class: &Class) -> bool {
    class.is_repeatable() || *class == Class::Ambiguous
}

//! Asks a server for its certificate, to show its fingerprint to somebody who can compare it.

use proxmox_schema::Method;

use crate::class::Class;
use crate::error::{During, Error};
use crate::exchange;
use crate::fingerprint::Fingerprint;
use crate::options::{Endpoint, Limits};
use crate::request::{Call, Parameters};
use crate::tls::Trust;

/// The fingerprint of the certificate that a server shows. The connection is given up before anything is sent.
///
/// It proves nothing by itself: whoever answers may show any certificate. It becomes worth something when it is
/// compared with what `pvenode cert info` prints on the server.
pub async fn presented_fingerprint(endpoint: &Endpoint) -> Result<Fingerprint, Error> {
    let trust_nobody = Trust::Fingerprints(Vec::new());
    let tls = trust_nobody.client_config().map_err(|error| Error::preparation(error.to_string()).with_cause(error))?;
    let limits = Limits::default();
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .connect_timeout(limits.connect)
        .timeout(limits.read)
        .build()
        .map_err(|error| Error::preparation("TLS cannot be set up").with_cause(error))?;
    let call =
        Call { method: Method::Get, template: "/version", path: "/version".to_owned(), parameters: Parameters::new() };
    let answer = http.get(endpoint.url(&call.path, "")).send().await;
    let Err(error) = answer.map_err(|error| exchange::broken(&call, error)) else {
        let during = During::Request { method: call.method, path: call.path };
        return Err(Error::new(Class::Permanent, during, "it shows no certificate"));
    };
    match error.class() {
        Class::Certificate { presented: Some(presented) } => Ok(*presented),
        _ => Err(error),
    }
}

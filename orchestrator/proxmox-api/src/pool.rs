//! Pools.

use proxmox_schema::Method;
use serde::Deserialize;

use crate::class::Missing;
use crate::client::Client;
use crate::error::{Error, absent};
use crate::lenient;
use crate::request::{Parameters, Request};

/// `GET /pools?poolid=`
#[derive(Clone, Copy, Debug)]
pub struct GetPool<'a> {
    pub pool: &'a str,
}

/// A pool and what is in it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Pool {
    #[serde(rename = "poolid")]
    pub name: String,
    #[serde(default)]
    pub comment: Option<String>,
    #[serde(default)]
    pub members: Vec<PoolMember>,
}

/// A VM, container or storage in a pool.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct PoolMember {
    /// `qemu/100`, `storage/pve/local`.
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub vmid: Option<u32>,
    #[serde(default)]
    pub node: Option<String>,
}

impl Request for GetPool<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<Pool>;

    fn template(&self) -> &'static str {
        "/pools"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("poolid", self.pool)
    }
}

impl Client {
    /// The pool with its members, or nothing if there is no such pool.
    pub async fn pool(&self, pool: &str) -> Result<Option<Pool>, Error> {
        let pools = absent(self.send(&GetPool { pool }).await, Missing::Pool)?;
        Ok(pools.and_then(|pools| pools.into_iter().next()))
    }
}

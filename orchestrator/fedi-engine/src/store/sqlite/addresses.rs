//! The address table. A row is held while `free_at` is null; later it rests until that
//! time, and then it may go to anybody, though its last holder still gets it first.

use std::net::IpAddr;

use async_trait::async_trait;
use fedi_model::inventory::AddressPool;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::{Address, Family};
use ipnet::IpNet;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::pool::{Range, from_bytes, to_bytes};
use super::{Failed, SqliteStore, parse};
use crate::store::{AddressStore, Exhausted, Hold, StoreError, StoredAddress};

const COLUMNS: &str = "network, address, host, deployment, family, gateway, quarantine_hours, free_at";

#[async_trait]
impl AddressStore for SqliteStore {
    async fn hold_address(&self, hold: Hold<'_>, now: Timestamp) -> Result<Result<Address, Exhausted>, StoreError> {
        let search = Search::new(hold, now);
        self.write("hold an address", move |transaction| search.run(transaction)).await
    }

    async fn peek_address(&self, hold: Hold<'_>, now: Timestamp) -> Result<Result<Address, Exhausted>, StoreError> {
        let search = Search::new(hold, now);
        self.read("find a free address", move |connection| match search.find(connection)? {
            Some((_, address)) => Ok(Ok(address)),
            None => search.exhausted(connection).map(Err),
        })
        .await
    }

    async fn hold_exactly(
        &self,
        address: &Address,
        now: Timestamp,
    ) -> Result<Result<Address, StoredAddress>, StoreError> {
        let address = address.clone();
        self.write("hold an address", move |transaction| {
            let key = Key::of(&address);
            if let Some(other) = at(transaction, &address.address)? {
                let free = Key::of(&other.address) == key || other.rests_until.is_some_and(|until| until <= now);
                if !free {
                    return Ok(Err(other));
                }
            }
            if let Some(held) = held_by(transaction, &key)?
                && held.address != address.address
            {
                rest(transaction, &held, now)?;
            }
            put(transaction, &address, None)?;
            Ok(Ok(address))
        })
        .await
    }

    async fn release_address(&self, address: &Address, now: Timestamp) -> Result<(), StoreError> {
        let address = address.clone();
        self.write("release an address", move |transaction| {
            let held = held_by(transaction, &Key::of(&address))?;
            if held.is_some_and(|held| held.address == address.address) {
                rest(transaction, &address, now)?;
            }
            Ok(())
        })
        .await
    }

    async fn held_address(
        &self,
        deployment: &DeploymentName,
        host: &HostName,
        family: Family,
    ) -> Result<Option<Address>, StoreError> {
        let key = Key { host: host.to_string(), deployment: deployment.to_string(), family };
        self.read("find an address", move |connection| held_by(connection, &key)).await
    }

    async fn addresses(&self) -> Result<Vec<StoredAddress>, StoreError> {
        self.read("list addresses", |connection| select(connection, "ORDER BY network, address", [])).await
    }
}

/// What a deployment's address goes by.
#[derive(PartialEq, Eq)]
struct Key {
    host: String,
    deployment: String,
    family: Family,
}

impl Key {
    fn of(address: &Address) -> Self {
        Self { host: address.host.to_string(), deployment: address.deployment.to_string(), family: address.family }
    }
}

struct Search {
    key: Key,
    pools: Vec<(AddressPool, Range)>,
    now: Timestamp,
}

impl Search {
    fn new(hold: Hold<'_>, now: Timestamp) -> Self {
        Self {
            key: Key { host: hold.host.to_string(), deployment: hold.deployment.to_string(), family: hold.family },
            pools: hold.pools.iter().filter_map(|pool| Some((pool.clone(), Range::of(pool, hold.family)?))).collect(),
            now,
        }
    }

    fn run(&self, connection: &Connection) -> Result<Result<Address, Exhausted>, Failed> {
        let Some((held, address)) = self.find(connection)? else {
            return self.exhausted(connection).map(Err);
        };
        if held.as_ref() == Some(&address) {
            return Ok(Ok(address));
        }
        // Held with an older router or rest, or out of a pool that is gone.
        if let Some(held) = held.filter(|held| held.address != address.address) {
            rest(connection, &held, self.now)?;
        }
        put(connection, &address, None)?;
        Ok(Ok(address))
    }

    /// What the key holds, and what it is to hold; `None` when nothing is left.
    fn find(&self, connection: &Connection) -> Result<Option<(Option<Address>, Address)>, Failed> {
        let held = held_by(connection, &self.key)?;
        if let Some(held) = &held
            && let Some((pool, _)) = self.pools.iter().find(|(pool, _)| pool.network.trunc() == held.address.trunc())
        {
            let again = self.of(pool, held.address.addr())?;
            return Ok(Some((Some(held.clone()), again)));
        }
        let found = match self.last_held(connection)? {
            Some(own) => Some(own),
            None => self.lowest(connection)?,
        };
        let Some((pool, address)) = found else { return Ok(None) };
        Ok(Some((held, self.of(pool, address)?)))
    }

    /// The address that the key held last, where it is still in a pool.
    fn last_held(&self, connection: &Connection) -> Result<Option<(&AddressPool, IpAddr)>, Failed> {
        let resting = select(
            connection,
            "WHERE host = ? AND deployment = ? AND family = ? AND free_at IS NOT NULL ORDER BY free_at DESC",
            params![self.key.host, self.key.deployment, self.key.family.to_string()],
        )?;
        Ok(resting.iter().find_map(|stored| {
            let address = stored.address.address;
            let fits = |(pool, range): &&(AddressPool, Range)| {
                pool.network.trunc() == address.trunc() && range.contains(address.addr())
            };
            self.pools.iter().find(fits).map(|(pool, _)| (pool, address.addr()))
        }))
    }

    fn lowest(&self, connection: &Connection) -> Result<Option<(&AddressPool, IpAddr)>, Failed> {
        for (pool, range) in &self.pools {
            let (first, last) = range.bounds();
            let mut statement = connection.prepare_cached(
                "SELECT address FROM address WHERE network = ? AND address BETWEEN ? AND ? \
                 AND (free_at IS NULL OR free_at > ?) ORDER BY address",
            )?;
            let taken = statement
                .query_map(params![network(pool), first, last, self.now.as_second()], |row| row.get(0))?
                .collect::<Result<Vec<[u8; 16]>, _>>()?;
            if let Some(address) = range.lowest_free(&taken) {
                return Ok(Some((pool, address)));
            }
        }
        Ok(None)
    }

    /// An address of a pool, for the key.
    fn of(&self, pool: &AddressPool, address: IpAddr) -> Result<Address, Failed> {
        let broken = |_| Failed::Damaged("an address pool holds an impossible address".to_owned());
        let what = || "the key of an address".to_owned();
        Ok(Address {
            deployment: parse(&self.key.deployment, what)?,
            host: parse(&self.key.host, what)?,
            family: self.key.family,
            address: IpNet::new(address, pool.network.prefix_len()).map_err(broken)?,
            gateway: pool.gateway,
            quarantine_hours: pool.quarantine_hours,
        })
    }

    fn exhausted(&self, connection: &Connection) -> Result<Exhausted, Failed> {
        let mut told = Exhausted { pools: self.pools.len(), size: 0, held: 0, resting: 0, next: None };
        for (pool, range) in &self.pools {
            told.size = told.size.saturating_add(range.size());
            for stored in select(connection, "WHERE network = ?", [network(pool)])? {
                if !range.contains(stored.address.address.addr()) {
                    continue;
                }
                match stored.rests_until {
                    None => told.held += 1,
                    Some(until) => {
                        told.resting += 1;
                        told.next = Some(told.next.map_or(until, |next| next.min(until)));
                    }
                }
            }
        }
        Ok(told)
    }
}

fn network(pool: &AddressPool) -> String {
    pool.network.trunc().to_string()
}

fn put(connection: &Connection, address: &Address, free_at: Option<i64>) -> Result<(), Failed> {
    connection
        .prepare_cached(&format!("INSERT OR REPLACE INTO address ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"))?
        .execute(params![
            address.address.trunc().to_string(),
            to_bytes(address.address.addr()),
            address.host.as_str(),
            address.deployment.as_str(),
            address.family.to_string(),
            address.gateway.to_string(),
            address.quarantine_hours,
            free_at,
        ])?;
    Ok(())
}

/// Lets a held address go.
fn rest(connection: &Connection, address: &Address, now: Timestamp) -> Result<(), Failed> {
    put(connection, address, Some(now.as_second() + i64::from(address.quarantine_hours) * 3600))
}

fn held_by(connection: &Connection, key: &Key) -> Result<Option<Address>, Failed> {
    let found = select(
        connection,
        "WHERE host = ? AND deployment = ? AND family = ? AND free_at IS NULL",
        params![key.host, key.deployment, key.family.to_string()],
    )?;
    Ok(found.into_iter().next().map(|stored| stored.address))
}

fn at(connection: &Connection, address: &IpNet) -> Result<Option<StoredAddress>, Failed> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM address WHERE network = ? AND address = ?"))?
        .query_row(params![address.trunc().to_string(), to_bytes(address.addr())], |row| Ok(stored(row)))
        .optional()?;
    found.transpose()
}

fn select(connection: &Connection, which: &str, values: impl rusqlite::Params) -> Result<Vec<StoredAddress>, Failed> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM address {which}"))?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(row)?);
    }
    Ok(found)
}

fn stored(row: &Row<'_>) -> Result<StoredAddress, Failed> {
    let text = |column: usize| row.get::<_, String>(column);
    let what = || "a row of the address table".to_owned();
    let damaged = |_| Failed::Damaged(format!("{} cannot be read", what()));
    let network: IpNet = parse(&text(0)?, what)?;
    let family = if network.max_prefix_len() == 32 { Family::Ipv4 } else { Family::Ipv6 };
    let free_at: Option<i64> = row.get(7)?;
    Ok(StoredAddress {
        address: Address {
            deployment: parse(&text(3)?, what)?,
            host: parse(&text(2)?, what)?,
            family,
            address: IpNet::new(from_bytes(family, row.get(1)?), network.prefix_len()).map_err(damaged)?,
            gateway: parse(&text(5)?, what)?,
            quarantine_hours: row.get(6)?,
        },
        rests_until: free_at.map(Timestamp::from_second).transpose().map_err(|_| Failed::Damaged(what()))?,
    })
}

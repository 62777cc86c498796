//! The servers that a puller may write to: one, or several of which one is written to.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use common::ident::Ident;
use common::process::chain;
use common::session::{Address, CONNECT_TIMEOUT, flavour};
use futures_util::future::join_all;

use crate::destination::{Destination, SETUP};
use crate::error::PullError;
use crate::fitness::unfit;
use crate::link::within;
use crate::lock::{Former, Holder, stranger};

/// How long one of several hosts may take to answer: a black hole must not keep from the others.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(3);

/// A host as `--dest-host` names it: `host`, `host:port`, or `[IPv6]:port`.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    host: String,
    port: Option<u16>,
}

impl Place {
    /// Its name, or its IP address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, where one was named.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not host, host:port or [IPv6]:port");
        let text = text.trim();
        // An address of IPv6 is full of colons.
        let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let port: Option<u16> = port.map(str::parse).transpose().map_err(|_| wrong())?;
        if port == Some(0) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// A server of the list.
struct Host {
    address: Address,
    former: Former,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The servers, in the order in which they are tried.
pub(crate) struct Hosts {
    hosts: Vec<Host>,
    /// The one that was written to last.
    last: Option<usize>,
}

/// Why a host is not written to.
enum Passed {
    /// Another one may be.
    Over(String),
    /// No other one may be.
    AllOf(PullError),
}

impl From<mysql_async::Error> for Passed {
    fn from(error: mysql_async::Error) -> Self {
        Self::Over(chain(&error))
    }
}

impl From<PullError> for Passed {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Destination { source, .. } => source.into(),
            // A database that is missing.
            PullError::Usage(why) => Self::Over(why),
            // R5: who finds another puller must not go round it.
            error => Self::AllOf(error),
        }
    }
}

impl Hosts {
    pub(crate) fn new(addresses: Vec<Address>) -> Self {
        let host = |address| Host {
            address,
            former: Former::default(),
        };
        Self {
            hosts: addresses.into_iter().map(host).collect(),
            last: None,
        }
    }

    /// The one that was written to last.
    pub(crate) fn current(&self) -> Option<String> {
        Some(self.hosts.get(self.last?)?.to_string())
    }

    /// Whether one was written to: what holds the lock then is only for a moment.
    pub(crate) fn were_written_to(&self) -> bool {
        self.last.is_some()
    }

    /// Connects to the first host that can be written to, the last one first, and takes both locks there (R5);
    /// or, where nothing is to be written, only connects. Answers as well whether another one was before.
    pub(crate) async fn connect(
        &mut self,
        database: &Ident,
        to_write: bool,
    ) -> Result<(Destination, bool), PullError> {
        if let [host] = &mut self.hosts[..] {
            // Whether it may be written to shows when it is: the account may be one that is allowed to.
            let connected = host.connect(database, to_write, None).await?;
            if to_write {
                self.last = Some(0);
            }
            return Ok((connected, false));
        }
        let others = (0..self.hosts.len()).filter(|at| Some(*at) != self.last);
        let order: Vec<usize> = self.last.into_iter().chain(others).collect();
        let mut reasons = Vec::new();
        for at in order {
            let host = &mut self.hosts[at];
            match host.try_one_of_several(database, to_write).await {
                Ok(connected) => {
                    if !to_write {
                        tracing::info!("comparing with {host}");
                        return Ok((connected, false));
                    }
                    self.nobody_elsewhere(at, &connected, database).await?;
                    let before = self.last.replace(at);
                    if before != Some(at) {
                        tracing::info!("writing to {}", self.hosts[at]);
                    }
                    return Ok((connected, before.is_some_and(|before| before != at)));
                }
                Err(Passed::Over(why)) => {
                    tracing::debug!("passing over {host}: {why}");
                    reasons.push(format!("{host} ({why})"));
                }
                Err(Passed::AllOf(error)) => return Err(error),
            }
        }
        Err(PullError::NoDestination {
            reasons: reasons.join(", "),
        })
    }

    /// R5: sees to it that no other puller holds the lock at one of the other hosts. Who comes second sees who
    /// came first; two that come at once see each other, and neither goes on.
    async fn nobody_elsewhere(
        &self,
        at: usize,
        connected: &Destination,
        database: &Ident,
    ) -> Result<(), PullError> {
        let Some(current) = connected.holder() else {
            return Ok(());
        };
        let others = self.hosts.iter().enumerate();
        let looks = others
            .filter(|(other, _)| *other != at)
            .map(|(_, host)| host.stranger(database, current));
        match join_all(looks).await.into_iter().flatten().next() {
            Some(holder) => Err(PullError::Locked {
                database: database.clone(),
                holder,
            }),
            None => Ok(()),
        }
    }
}

impl Host {
    async fn try_one_of_several(
        &mut self,
        database: &Ident,
        to_write: bool,
    ) -> Result<Destination, Passed> {
        let mut conn = self.address.connect_within(&[], ONE_OF_SEVERAL).await?;
        if let Some(why) = within(ONE_OF_SEVERAL, unfit(&mut conn)).await? {
            return Err(Passed::Over(why));
        }
        drop(conn);
        let limit = Some(ONE_OF_SEVERAL);
        Ok(self.connect(database, to_write, limit).await?)
    }

    async fn connect(
        &mut self,
        database: &Ident,
        to_write: bool,
        one_of_several: Option<Duration>,
    ) -> Result<Destination, PullError> {
        let limit = one_of_several.unwrap_or(CONNECT_TIMEOUT);
        if !to_write {
            return Destination::connect_to_read(&self.address, database, limit).await;
        }
        let conn = self.address.connect_within(&SETUP, limit).await?;
        let may_move = one_of_several.is_some();
        Destination::connect(conn, &self.address, database, &mut self.former, may_move).await
    }

    /// Who else holds the puller lock here. A host that does not answer cannot be asked.
    async fn stranger(&self, database: &Ident, current: &Holder) -> Option<String> {
        let look = async {
            let mut conn = self.address.connect_within(&[], ONE_OF_SEVERAL).await?;
            let (flavour, _) = flavour(&mut conn).await?;
            stranger(&mut conn, flavour, database, current, &self.former).await
        };
        match within(2 * ONE_OF_SEVERAL, look).await {
            Ok(holder) => holder.map(|holder| format!("{holder} at {self}")),
            Err(error) => {
                tracing::debug!(%error, "cannot see whether another puller writes to {self}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_perhaps_a_port() {
        for (text, expected) in [
            ("db1", Some(("db1", None))),
            (" db1 ", Some(("db1", None))),
            ("db1:3307", Some(("db1", Some(3307)))),
            ("192.0.2.1:3307", Some(("192.0.2.1", Some(3307)))),
            ("::1", Some(("::1", None))),
            ("[::1]", Some(("::1", None))),
            ("[fe80::1]:3307", Some(("fe80::1", Some(3307)))),
            ("", None),
            (":3306", None),
            ("db1:", None),
            ("db1:0", None),
            ("db1:65536", None),
            ("db1:3306:3307", None),
            ("[::1", None),
            ("[::1]3306", None),
            ("[db1]:3306", None),
            ("db1 db2", None),
        ] {
            let place = text.parse::<Place>().ok();
            let found = place.as_ref().map(|place| (place.host(), place.port()));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}

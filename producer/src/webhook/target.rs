//! Allowed targets of webhooks: public servers over HTTPS, or any server if private ones are allowed.
//!
//! A name is resolved once for each delivery, by [`Guarded`], and the connection uses one of the checked
//! addresses. So a name that resolves differently a moment later has no effect.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::webhook::address::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Longest address of a webhook, in bytes.
pub const URL_BYTES: usize = 2048;
/// How long a name is looked up when a webhook is created.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How long a request waits until another name may be looked up.
const PLACE: Duration = Duration::from_secs(2);
/// Names that are looked up at a time. Each takes a thread of those that uploads need too, for as long as the system waits for an answer.
const AT_A_TIME: usize = 16;

/// Places of those who create or change webhooks.
static FOR_REQUESTS: Semaphore = Semaphore::const_new(AT_A_TIME);
/// Slots for deliveries, which the creation of webhooks cannot use up.
static FOR_DELIVERIES: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Why a webhook may not lead to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is no address of a web server.
    #[error(
        "must be an address that begins with https://, of at most 2,048 bytes, without a user name, a password and a fragment"
    )]
    NoUrl,
    /// It is not encrypted.
    #[error("must begin with https://")]
    NotEncrypted,
    /// It leads to an address that is not of the public network.
    #[error("must lead to an address of the public network; this one is private, local or reserved")]
    Private,
    /// It is not known yet where it leads.
    #[error("cannot be looked up now, since many names that resolve slowly are being looked up; try again")]
    Busy,
}

/// A name has no address, or none that is known now.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(super) struct Unresolved;

/// How names are looked up.
#[derive(Debug, Clone, Copy, Default)]
pub enum Lookup {
    /// As the system does.
    #[default]
    System,
    /// By this function, in tests.
    By(fn(&str) -> Vec<IpAddr>),
}

impl Lookup {
    /// A system call cannot be told that its result is no longer needed. So the thread releases the slot, not the caller.
    async fn addresses(self, name: &str, place: SemaphorePermit<'static>) -> io::Result<Vec<SocketAddr>> {
        let name = name.to_owned();
        let place = (!mutant(Mutant::LookupsUnbounded)).then_some(place);
        let found = spawn_blocking(move || {
            let _held = place;
            self.ask(&name)
        });
        found.await.map_err(io::Error::other)?
    }

    fn ask(self, name: &str) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok((name, 0).to_socket_addrs()?.collect()),
            Self::By(function) => Ok(function(name).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()),
        }
    }
}

/// Where webhooks may lead.
#[derive(Debug, Clone, Copy, Default)]
pub struct Targets {
    /// Also to private addresses, and without encryption.
    pub allow_private: bool,
    /// How names are looked up.
    pub lookup: Lookup,
}

impl Targets {
    fn allows(self, address: IpAddr) -> bool {
        self.allow_private || is_public(address) || mutant(Mutant::WebhookAnyTarget)
    }

    /// The address as a URL, as far as it can be judged without looking its name up. Numbers in any notation
    /// (decimal, octal, hexadecimal, short) are converted to their address.
    pub(crate) fn parse(self, text: &str) -> Result<Url, TargetError> {
        if text.len() > URL_BYTES || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(TargetError::NoUrl);
        }
        let url = Url::parse(text).map_err(|_| TargetError::NoUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TargetError::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(TargetError::NoUrl);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private || mutant(Mutant::WebhookAnyTarget) => {}
            "http" => return Err(TargetError::NotEncrypted),
            _ => return Err(TargetError::NoUrl),
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.allows(address)) {
            return Err(TargetError::Private);
        }
        Ok(url)
    }

    /// The same, and a name must not lead to a private address. A name that does not resolve may do so later.
    pub async fn check(self, text: &str) -> Result<(), TargetError> {
        let url = self.parse(text)?;
        let (false, Some(name)) = (self.allow_private, url.domain()) else { return Ok(()) };
        let Ok(Ok(place)) = timeout(PLACE, FOR_REQUESTS.acquire()).await else {
            return Err(TargetError::Busy);
        };
        match timeout(LOOK_UP, self.lookup.addresses(name, place)).await {
            Ok(Ok(found)) if found.iter().any(|address| !self.allows(address.ip())) => {
                Err(TargetError::Private)
            }
            _ => Ok(()),
        }
    }
}

/// Looks names up for the client that delivers, and lets it have addresses that may be connected to, or none at all.
pub(super) struct Guarded(pub(super) Targets);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.0;
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = targets.lookup.addresses(&name, FOR_DELIVERIES.acquire().await?).await;
            let found = found.map_err(|_| Unresolved)?;
            // One forbidden address makes all of them untrusted.
            if found.iter().any(|address| !targets.allows(address.ip())) {
                return Err(Box::new(TargetError::Private) as Box<dyn Error + Send + Sync>);
            }
            let found = if mutant(Mutant::WebhookResolvesTwice) {
                targets.lookup.addresses(&name, FOR_DELIVERIES.acquire().await?).await?
            } else {
                found
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use tokio::time::sleep;

    use super::*;

    const PUBLIC: Targets = Targets { allow_private: false, lookup: Lookup::System };

    #[test]
    fn an_address_that_is_not_public_is_refused_in_every_notation() {
        for (url, error) in [
            ("https://hooks.example.com/muster?x=1", None),
            ("https://hooks.example.com:8443/", None),
            ("https://1.1.1.1/", None),
            ("https://[2606:4700::1111]/", None),
            ("http://hooks.example.com/", Some(TargetError::NotEncrypted)),
            ("https://127.0.0.1/", Some(TargetError::Private)),
            ("https://127.1/", Some(TargetError::Private)),
            ("https://2130706433/", Some(TargetError::Private)),
            ("https://0177.0.0.1/", Some(TargetError::Private)),
            ("https://017700000001/", Some(TargetError::Private)),
            ("https://0x7f.0.0.1/", Some(TargetError::Private)),
            ("https://0x7f000001/", Some(TargetError::Private)),
            ("https://127.0.0.1./", Some(TargetError::Private)),
            ("https://①②⑦.0.0.1/", Some(TargetError::Private)),
            ("https://%31%32%37.0.0.1/", Some(TargetError::Private)),
            ("https://10.1.2.3/", Some(TargetError::Private)),
            ("https://169.254.169.254/latest/meta-data/", Some(TargetError::Private)),
            ("https://[::1]/", Some(TargetError::Private)),
            ("https://[::ffff:127.0.0.1]/", Some(TargetError::Private)),
            ("https://[::ffff:7f00:1]/", Some(TargetError::Private)),
            ("https://[fd00:ec2::254]/", Some(TargetError::Private)),
            ("https://user:secret@hooks.example.com/", Some(TargetError::NoUrl)),
            ("https://hooks.example.com/#part", Some(TargetError::NoUrl)),
            ("https://hooks.example.com/a b", Some(TargetError::NoUrl)),
            ("https://hooks.example.com/\r\nx: y", Some(TargetError::NoUrl)),
            ("ftp://hooks.example.com/", Some(TargetError::NoUrl)),
            ("file:///etc/passwd", Some(TargetError::NoUrl)),
            ("hooks.example.com", Some(TargetError::NoUrl)),
            ("", Some(TargetError::NoUrl)),
        ] {
            assert_eq!(PUBLIC.parse(url).err(), error, "{url}");
        }
        let long = |bytes: usize| format!("https://hooks.example.com/{}", "x".repeat(bytes - 26));
        assert!(PUBLIC.parse(&long(URL_BYTES)).is_ok());
        assert_eq!(PUBLIC.parse(&long(URL_BYTES + 1)).err(), Some(TargetError::NoUrl));
        let private = Targets { allow_private: true, ..PUBLIC };
        assert!(private.parse("http://127.0.0.1:8080/").is_ok());
        assert_eq!(private.parse("ftp://127.0.0.1/").err(), Some(TargetError::NoUrl));
    }

    #[tokio::test]
    async fn a_name_may_lead_to_public_addresses_alone() {
        fn addresses(name: &str) -> Vec<IpAddr> {
            let texts: &[&str] = match name {
                "public.test" => &["1.1.1.1", "2606:4700::1111"],
                "mixed.test" => &["1.1.1.1", "10.0.0.1"],
                "mapped.test" => &["::ffff:127.0.0.1"],
                _ => &[],
            };
            texts.iter().map(|text| text.parse().unwrap()).collect()
        }
        let targets = Targets { allow_private: false, lookup: Lookup::By(addresses) };
        for (url, error) in [
            ("https://public.test/", None),
            ("https://nowhere.test/", None),
            ("https://mixed.test/", Some(TargetError::Private)),
            ("https://mapped.test/", Some(TargetError::Private)),
        ] {
            assert_eq!(targets.check(url).await.err(), error, "{url}");
        }
        let system = Targets { lookup: Lookup::System, ..targets };
        assert_eq!(system.check("https://localhost/").await, Err(TargetError::Private));
        let private = Targets { allow_private: true, ..targets };
        assert_eq!(private.check("https://mixed.test/").await, Ok(()));
    }

    #[tokio::test]
    async fn names_that_resolve_slowly_take_so_many_threads_and_no_more() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static ANSWERED: Mutex<bool> = Mutex::new(false);
        static ANSWER: Condvar = Condvar::new();
        fn slow(_: &str) -> Vec<IpAddr> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            // It ends at some time, so that a test that fails does so too.
            let most = Duration::from_secs(20);
            drop(ANSWER.wait_timeout_while(ANSWERED.lock().unwrap(), most, |answered| !*answered).unwrap());
            Vec::new()
        }
        let targets = Targets { allow_private: false, lookup: Lookup::By(slow) };
        let asking: Vec<_> =
            (0..AT_A_TIME).map(|_| tokio::spawn(targets.check("https://slow.test/"))).collect();
        let all_asked = async {
            while ASKED.load(Ordering::SeqCst) < AT_A_TIME {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), all_asked).await.unwrap();
        // The callers are gone, but the threads still run.
        for one in asking {
            one.abort();
        }
        assert_eq!(targets.check("https://slow.test/").await, Err(TargetError::Busy));
        // Deliveries have places of their own.
        assert_eq!(FOR_DELIVERIES.available_permits(), AT_A_TIME);
        *ANSWERED.lock().unwrap() = true;
        ANSWER.notify_all();
        assert_eq!(targets.check("https://slow.test/").await, Ok(()));
    }
}

//! From a destination to the addresses to try, in the order to try them (RFC 5321 5.1).

use std::net::{IpAddr, SocketAddr};

use bstr::BString;
use dsn::{Dsn, Status};
use ipc::resolver::{Client, Failure, Found, Query};

use crate::destination::{Destination, port_number};
use crate::settings::{AddressPreference, Settings};

/// One address to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name as the MX record, or the destination, has it.
    pub host: String,
    /// Address and port, or a socket path.
    pub address: TargetAddress,
    /// MX preference; 0 without MX lookup.
    pub preference: u16,
}

/// Address of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    /// Over the network.
    Inet(SocketAddr),
    /// A Unix-domain socket.
    Unix(String),
}

impl Target {
    /// `host[address]`, as replies and log lines show it.
    #[must_use]
    pub fn host_and_address(&self) -> String {
        match &self.address {
            TargetAddress::Inet(address) => format!("{}[{}]", self.host, address.ip()),
            TargetAddress::Unix(path) => format!("{}[{path}]", self.host),
        }
    }

    /// `relay=` of log lines: with the port, for a network address.
    #[must_use]
    pub fn relay(&self) -> String {
        match &self.address {
            TargetAddress::Inet(address) => format!("{}[{}]:{}", self.host, address.ip(), address.port()),
            TargetAddress::Unix(_) => self.host_and_address(),
        }
    }
}

/// The addresses of a destination.
///
/// # Errors
/// Why there is none, as status and reason for the recipients.
pub async fn find(destination: &Destination, resolver: &Client, settings: &Settings) -> Result<Vec<Target>, Dsn> {
    let (name, mx, port) = match destination {
        Destination::Unix(path) => {
            let address = TargetAddress::Unix(path.clone());
            return Ok(vec![Target { host: settings.myhostname.clone(), address, preference: 0 }]);
        }
        Destination::Inet { name, mx, port } => (name, *mx && !settings.disable_dns && !settings.lmtp, port),
    };
    let Some(port) = port_number(port) else {
        return Err(Dsn::new(Status::permanent(3, 5), format!("unknown service: {port}/tcp")));
    };
    let domain = ascii_domain(name)?;
    if !mx {
        return host_targets(&domain, port, 0, resolver, settings).await;
    }
    match resolver.query(Query::Mx(domain.clone())).await {
        Ok(Found::Mx(exchangers)) => mx_targets(&domain, exchangers, port, resolver, settings).await,
        Ok(_) => Err(Dsn::new(Status::transient(4, 3), "unexpected answer from the resolver service")),
        Err(Failure::NoData) => host_targets(&domain, port, 0, resolver, settings).await,
        Err(Failure::TryAgain(_)) if settings.ignore_mx_lookup_error => {
            host_targets(&domain, port, 0, resolver, settings).await
        }
        Err(failure) => Err(lookup_failed(&domain, "MX", &failure)),
    }
}

/// The domain in the form that the DNS knows.
fn ascii_domain(name: &str) -> Result<String, Dsn> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    if name.is_ascii() {
        return Ok(name.to_owned());
    }
    Err(Dsn::new(Status::permanent(4, 4), format!("malformed domain name in \"{name}\"")))
}

async fn mx_targets(
    domain: &str,
    mut exchangers: Vec<(u16, String)>,
    port: u16,
    resolver: &Client,
    settings: &Settings,
) -> Result<Vec<Target>, Dsn> {
    // RFC 7505: a single root MX says that the domain takes no mail.
    if let [(_, host)] = exchangers.as_slice()
        && (host == "." || host.is_empty())
    {
        return Err(Dsn::new(Status::permanent(1, 10), format!("Domain {domain} does not accept mail (nullMX)")));
    }
    exchangers.sort_by_key(|(preference, _)| *preference);
    // Hosts beyond these could never be tried within one delivery.
    exchangers.truncate(settings.mx_address_limit.unwrap_or(usize::MAX).clamp(1, MOST_EXCHANGERS));
    let lookups = exchangers.into_iter().map(|(preference, host)| async move {
        let found = host_targets(&host, port, preference, resolver, settings).await;
        (preference, host, found)
    });
    let mut targets = Vec::new();
    let mut failure: Option<Dsn> = None;
    let mut our_preference = None;
    for (preference, host, found) in join_all(lookups).await {
        if settings.is_me(&host) {
            our_preference = Some(our_preference.unwrap_or(preference).min(preference));
        }
        match found {
            Ok(found) => targets.extend(found),
            // A temporary failure must win: a permanent one would bounce mail for a host that may come back.
            Err(dsn) if failure.as_ref().is_none_or(|have| !have.is_transient()) => failure = Some(dsn),
            Err(_) => {}
        }
    }
    if targets.is_empty() {
        log::warning!("no MX host for {domain} has a valid address record");
        return Err(failure.map_or_else(
            || no_valid_address(domain),
            |dsn| if settings.defer_if_no_mx_address_found { transient(dsn) } else { dsn },
        ));
    }
    for target in &targets {
        if let TargetAddress::Inet(address) = &target.address
            && settings.is_own_address(address)
        {
            our_preference = Some(our_preference.unwrap_or(target.preference).min(target.preference));
        }
    }
    if let Some(ours) = our_preference {
        // RFC 5321 5.1: never to exchangers of our own preference or worse.
        targets.retain(|target| target.preference < ours);
        if targets.is_empty() {
            return Err(Dsn::new(Status::permanent(4, 6), format!("mail for {domain} loops back to myself")));
        }
    }
    Ok(in_order(targets, settings))
}

/// Most exchangers of a domain that are looked at.
const MOST_EXCHANGERS: usize = 100;
/// Most addresses of a host that are looked at.
const MOST_ADDRESSES: usize = 100;

fn no_valid_address(domain: &str) -> Dsn {
    Dsn::new(Status::permanent(4, 4), format!("unable to find a host address for {domain}"))
}

fn transient(dsn: Dsn) -> Dsn {
    Dsn { status: dsn.status.with_class(dsn::Class::Transient), ..dsn }
}

async fn host_targets(
    host: &str,
    port: u16,
    preference: u16,
    resolver: &Client,
    settings: &Settings,
) -> Result<Vec<Target>, Dsn> {
    let target = |address: IpAddr| Target {
        host: host.to_owned(),
        address: TargetAddress::Inet(SocketAddr::new(address, port)),
        preference,
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![target(address)]);
    }
    let query = Query::Addresses {
        name: host.to_owned(),
        ipv4: settings.ipv4,
        ipv6: settings.ipv6,
        hosts_file: settings.hosts_file || settings.disable_dns,
        dns: settings.dns && !settings.disable_dns,
    };
    match resolver.query(query).await {
        Ok(Found::Addresses(mut addresses)) => {
            addresses.truncate(MOST_ADDRESSES);
            Ok(in_order(addresses.into_iter().map(target).collect(), settings))
        }
        Ok(_) => Err(Dsn::new(Status::transient(4, 3), "unexpected answer from the resolver service")),
        Err(failure) => {
            let kind = if settings.ipv6 && !settings.ipv4 { "AAAA" } else { "A" };
            Err(lookup_failed(host, kind, &failure))
        }
    }
}

fn lookup_failed(name: &str, kind: &str, failure: &Failure) -> Dsn {
    let (status, why) = match failure {
        Failure::NotFound => (Status::permanent(4, 4), "Host not found"),
        Failure::NoData => (Status::permanent(4, 4), "Host found but no data record of requested type"),
        Failure::Invalid => (Status::permanent(4, 4), "Malformed or unexpected name server reply"),
        Failure::TryAgain(_) => (Status::transient(4, 3), "Host not found, try again"),
    };
    if let Failure::TryAgain(cause) = failure {
        log::info!("name lookup for {name} type={kind}: {cause}");
    }
    let reason =
        BString::from(format!("Host or domain name not found. Name service error for name={name} type={kind}: {why}"));
    Dsn::new(status, reason)
}

/// Best preference first, equal ones in random order (`smtp_randomize_addresses`), families as
/// `smtp_address_preference` says, and at most `smtp_mx_address_limit`.
fn in_order(mut targets: Vec<Target>, settings: &Settings) -> Vec<Target> {
    if settings.randomize_addresses {
        crate::random::shuffle(&mut targets);
    }
    let family = |target: &Target| match &target.address {
        TargetAddress::Inet(address) => match settings.address_preference {
            AddressPreference::Ipv4 => address.is_ipv6(),
            AddressPreference::Ipv6 => address.is_ipv4(),
            AddressPreference::Any => false,
        },
        TargetAddress::Unix(_) => false,
    };
    targets.sort_by_key(|target| (target.preference, family(target)));
    let Some(limit) = settings.mx_address_limit else { return targets };
    balanced(targets, limit, settings.balance_inet_protocols)
}

/// The first `limit` targets; with `balance`, a family that would otherwise be cut off keeps a place in every second
/// position (`smtp_balance_inet_protocols`).
fn balanced(targets: Vec<Target>, limit: usize, balance: bool) -> Vec<Target> {
    if targets.len() <= limit || !balance || limit < 2 {
        return targets.into_iter().take(limit).collect();
    }
    let is_ipv6 = |target: &Target| matches!(&target.address, TargetAddress::Inet(address) if address.is_ipv6());
    let (ipv6, ipv4): (Vec<usize>, Vec<usize>) = (0..targets.len()).partition(|index| is_ipv6(&targets[*index]));
    let for_ipv6 = ipv6.len().min(limit - ipv4.len().min(limit / 2));
    let for_ipv4 = ipv4.len().min(limit - for_ipv6);
    let mut keep: Vec<usize> = ipv6[..for_ipv6].iter().chain(&ipv4[..for_ipv4]).copied().collect();
    keep.sort_unstable();
    keep.into_iter().map(|index| targets[index].clone()).collect()
}

/// Runs futures together and keeps their order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, preference: u16) -> Target {
        let address = TargetAddress::Inet(SocketAddr::new(address.parse().expect("address"), 25));
        Target { host: "h".into(), address, preference }
    }

    #[test]
    fn both_families_keep_places() {
        let addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "192.0.2.1", "192.0.2.2"];
        let targets: Vec<Target> = addresses.iter().map(|address| target(address, 10)).collect();
        let plain = balanced(targets.clone(), 4, false);
        assert!(plain.iter().all(|t| matches!(&t.address, TargetAddress::Inet(a) if a.is_ipv6())));
        let both = balanced(targets, 4, true);
        let ipv4 = both.iter().filter(|t| matches!(&t.address, TargetAddress::Inet(a) if a.is_ipv4())).count();
        assert_eq!((both.len(), ipv4), (4, 2));
    }

    #[test]
    fn names_in_logs() {
        let target = target("192.0.2.1", 0);
        assert_eq!(target.host_and_address(), "h[192.0.2.1]");
        assert_eq!(target.relay(), "h[192.0.2.1]:25");
    }
}
